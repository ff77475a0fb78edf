//! What a path of the repo server asks for. Everything that is not in here is not there.

/// A path, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RepoPath {
    /// The repository, without `.git`.
    pub(super) repo: String,
    /// What of it.
    pub(super) what: Wanted,
}

/// What is asked of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The list of its refs.
    Refs,
    /// A file of git's own, by its path in our copy.
    Git(String),
    /// One ref.
    Ref(String),
    /// A file of git's that is never there.
    Nothing,
    /// A file of the work tree.
    File(String),
}

/// Whether a path is one of the repo server's, `/NAME.git…`, whatever else is wrong with it.
pub(super) fn is_repo(path: &str) -> bool {
    let first = path.strip_prefix('/').and_then(|path| path.split(['/', '%']).next());
    first.is_some_and(|first| first.ends_with(".git"))
}

/// Understands a path as it came; none if it makes no sense or tries to leave its repository.
pub(super) fn parse(path: &str) -> Option<RepoPath> {
    let path = decoded(path)?;
    let (repo, rest) = path.strip_prefix('/')?.split_once('/')?;
    let repo = repo.strip_suffix(".git").filter(|name| is_name(name))?;
    let sane = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(['\0', '\n']);
    if !rest.split('/').all(sane) {
        return None;
    }
    Some(RepoPath { repo: repo.to_owned(), what: wanted(rest) })
}

/// Names that a repository can have.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
}

fn wanted(rest: &str) -> Wanted {
    let git = || Wanted::Git(rest.to_owned());
    match rest {
        "info/refs" => return Wanted::Refs,
        "HEAD" | "config" | "objects/info/packs" => return git(),
        "packed-refs" => return Wanted::Nothing,
        _ => {}
    }
    if rest.starts_with("refs/") {
        return Wanted::Ref(rest.to_owned());
    }
    let Some(object) = rest.strip_prefix("objects/") else { return Wanted::File(rest.to_owned()) };
    let hex = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let known = match object.split_once('/') {
        Some(("pack", pack)) => pack
            .strip_prefix("pack-")
            .and_then(|pack| pack.strip_suffix(".pack").or_else(|| pack.strip_suffix(".idx")))
            .is_some_and(hex),
        Some((two, rest)) => two.len() == 2 && hex(two) && matches!(rest.len(), 38 | 62) && hex(rest),
        None => false,
    };
    if known { git() } else { Wanted::Nothing }
}

/// Percent-decodes (RFC 3986, 2.1), once.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || u8::try_from(char::from(rest.next()?).to_digit(16)?).ok();
        bytes.push(digit()? << 4 | digit()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_file_of_git_or_of_the_work_tree_and_nothing_else() {
        let object = format!("objects/ab/{}", "0".repeat(38));
        for (path, what) in [
            ("/r.git/info/refs", Wanted::Refs),
            ("/r.git/HEAD", Wanted::Git("HEAD".into())),
            (&*format!("/r.git/{object}"), Wanted::Git(object.clone())),
            ("/r.git/objects/pack/pack-0a.pack", Wanted::Git("objects/pack/pack-0a.pack".into())),
            ("/r.git/objects/info/alternates", Wanted::Nothing),
            ("/r.git/objects/info/http-alternates", Wanted::Nothing),
            ("/r.git/objects/pack/pack-0a.pack.tmp", Wanted::Nothing),
            ("/r.git/refs/heads/main", Wanted::Ref("refs/heads/main".into())),
            ("/r.git/a%20b/c.sh", Wanted::File("a b/c.sh".into())),
            ("/r.git/%252e%252e/x", Wanted::File("%2e%2e/x".into())),
        ] {
            assert_eq!(parse(path), Some(RepoPath { repo: "r".into(), what }), "{path}");
        }
    }

    #[test]
    fn a_path_that_tries_to_leave_makes_no_sense() {
        for path in [
            "/r.git",
            "/r.git/",
            "/r.git/../x",
            "/r.git/objects/../../x",
            "/r.git/%2e%2e/x",
            "/r.git/a%2f..%2f..%2fx",
            "/r.git//etc/passwd",
            "/r.git/%2fetc/passwd",
            "/r.git/a%00b",
            "/r.git/a%0ab",
            "/r.git/a%zz",
            "/r.git/a%2",
            "/r.git/%ff",
            "/.git/config",
            "/..git/x",
            "/a%2fb.git/x",
            "/r/x",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
