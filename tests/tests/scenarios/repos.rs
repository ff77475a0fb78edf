//! The repo server, asked by `git` and `curl`: what lies in a work tree is served, and the work tree does not notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use homestak_tests::curl::{Answer, curl};
use homestak_tests::machine::files_below;
use homestak_tests::needs;
use homestak_tests::stage::Stage;
use serde_json::Value;

const TOKEN: &str = "the-repo-token";

/// Runs git as its user would, but with nothing of this machine's configuration.
fn git(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "http.sslVerify=false", "-c", "protocol.file.allow=always"]);
    command.args(["-c", "user.name=Somebody", "-c", "user.email=somebody@site.example"]).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    command.output().unwrap()
}

#[track_caller]
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = git(folder, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Work trees on a stage, and a daemon that serves them.
struct Served {
    stage: Stage,
    trees: PathBuf,
    url: String,
}

impl Served {
    fn set(name: &str) -> Option<Self> {
        if !needs::program(name, "git") || !needs::program(name, "curl") {
            return None;
        }
        let stage = Stage::set("repos");
        let trees = stage.folder().join("trees");
        let tree = trees.join("site");
        fs::create_dir_all(tree.join("sub dir")).unwrap();
        done(&tree, &["init", "--quiet", "--initial-branch=main", "."]);
        fs::write(tree.join(".gitignore"), "*.secret\n").unwrap();
        fs::write(tree.join("install.sh"), "#!/bin/sh\n").unwrap();
        fs::write(tree.join("sub dir/a file.yaml"), "a: 1\n").unwrap();
        fs::write(tree.join("gone.txt"), "soon\n").unwrap();
        done(&tree, &["add", "--all"]);
        done(&tree, &["commit", "--quiet", "-m", "one"]);
        fs::write(tree.join("token.secret"), "ignored\n").unwrap();
        fs::write(tree.join("forced.secret"), "added all the same\n").unwrap();
        done(&tree, &["add", "--force", "forced.secret"]);
        fs::write(tree.join("install.sh"), "#!/bin/sh\necho changed\n").unwrap();
        fs::write(tree.join("new.py"), "print()\n").unwrap();
        fs::remove_file(tree.join("gone.txt")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.join("outside")).unwrap();
        std::os::unix::fs::symlink("install.sh", tree.join("inside")).unwrap();
        fs::write(stage.folder().join("canary"), "out of reach\n").unwrap();
        std::os::unix::fs::symlink(stage.folder(), trees.join("linked")).unwrap();
        Some(Self { stage, trees, url: String::new() }.serving())
    }

    fn serving(mut self) -> Self {
        self.stage.env("HOMESTAK_REPO_TOKEN", TOKEN);
        let trees = self.trees.display().to_string();
        let server = self.stage.json(0, &["server", "start", "--repos", &trees]);
        assert_eq!((server["repo_token"].as_str(), server["repos"].as_str()), (Some(TOKEN), Some(trees.as_str())));
        self.url = server["url"].as_str().unwrap().to_owned();
        self
    }

    fn tree(&self) -> PathBuf {
        self.trees.join("site")
    }

    /// New work trees are found when the daemon is told to read everything again.
    fn found_anew(&self, file: &str) {
        let daemon: i32 = self.stage.json(0, &["server", "status"])["pid"].as_i64().unwrap().try_into().unwrap();
        let daemon = rustix::process::Pid::from_raw(daemon).unwrap();
        rustix::process::kill_process(daemon, rustix::process::Signal::HUP).unwrap();
        homestak_tests::wait::until("the new work trees are found", || (self.get(file).status == 200).then_some(()));
    }

    fn get(&self, path: &str) -> Answer {
        curl(&format!("{}{path}", self.url), Some(TOKEN), &["--path-as-is"])
    }

    fn clone(&self, repo: &str, to: &str) -> PathBuf {
        let header = format!("http.extraHeader=Authorization: Bearer {TOKEN}");
        let url = format!("{}/{repo}.git", self.url);
        done(self.stage.folder(), &["-c", &header, "clone", "--quiet", &url, to]);
        self.stage.folder().join(to)
    }

    fn fetch(&self, clone: &Path) -> String {
        let header = format!("http.extraHeader=Authorization: Bearer {TOKEN}");
        done(clone, &["-c", &header, "fetch", "--quiet", "origin"]);
        done(clone, &["rev-parse", "origin/_working"]).trim().to_owned()
    }
}

/// Every file of a repository with its bytes; nothing of it may change by being served.
fn picture(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = files_below(folder);
    files.sort();
    files.into_iter().filter(|file| file.is_file()).map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

#[test]
fn a_clone_has_what_lies_in_the_work_tree_and_the_work_tree_does_not_notice() {
    let name = "a_clone_has_what_lies_in_the_work_tree_and_the_work_tree_does_not_notice";
    let Some(served) = Served::set(name) else { return };
    let before = picture(&served.tree());
    let clone = served.clone("site", "clone");
    let read = |file: &str| fs::read_to_string(clone.join(file)).unwrap_or_default();
    assert_eq!(read("install.sh"), "#!/bin/sh\necho changed\n");
    assert_eq!((read("new.py"), read("forced.secret")), ("print()\n".into(), "added all the same\n".into()));
    assert!(!clone.join("token.secret").exists() && !clone.join("gone.txt").exists());
    assert_eq!(done(&clone, &["branch", "--show-current"]).trim(), "_working");
    assert_eq!(
        done(&clone, &["log", "-1", "--format=%an %ae %s"]).trim(),
        "homestak-server server@localhost Working tree snapshot for server"
    );
    let main = done(&served.tree(), &["rev-parse", "HEAD"]);
    assert_eq!(done(&clone, &["rev-parse", "origin/main"]), main);
    assert_eq!(done(&clone, &["rev-parse", "HEAD^"]), main);
    assert_eq!(picture(&served.tree()), before, "the user's repository, index and objects are as they were");

    // Nothing has changed: nothing is fetched. Then something has.
    let first = served.fetch(&clone);
    assert_eq!(served.fetch(&clone), first);
    fs::write(served.tree().join("later.txt"), "later\n").unwrap();
    let second = served.fetch(&clone);
    assert_ne!(second, first);
    assert_eq!(done(&clone, &["show", "origin/_working:later.txt"]), "later\n");
    // A clean work tree is what is checked out.
    done(&served.tree(), &["add", "--all"]);
    done(&served.tree(), &["commit", "--quiet", "-m", "two"]);
    assert_eq!(served.fetch(&clone), done(&served.tree(), &["rev-parse", "HEAD"]).trim());
    served.stage.strike();
}

#[test]
fn files_are_served_as_they_lie_there_and_nothing_beside_them() {
    let name = "files_are_served_as_they_lie_there_and_nothing_beside_them";
    let Some(served) = Served::set(name) else { return };
    for (path, body) in [
        ("/site.git/install.sh", "#!/bin/sh\necho changed\n"),
        ("/site.git/sub%20dir/a%20file.yaml", "a: 1\n"),
        ("/site.git/inside", "#!/bin/sh\necho changed\n"),
        ("/site.git/new.py/", "print()\n"),
        ("/site.git/HEAD", "ref: refs/heads/_working\n"),
    ] {
        let answer = served.get(path);
        assert_eq!((answer.status, String::from_utf8_lossy(&answer.body).as_ref()), (200, body), "{path}");
    }
    fs::write(served.tree().join("install.sh"), "now\n").unwrap();
    assert_eq!(served.get("/site.git/install.sh").body, b"now\n");
    for (path, status, code) in [
        ("/site.git/token.secret", 404, "E200"),
        ("/site.git/outside", 404, "E200"),
        ("/site.git/gone.txt", 404, "E200"),
        ("/site.git/sub%20dir", 404, "E200"),
        ("/site.git/.git/config", 404, "E200"),
        ("/linked.git/canary", 404, "E200"),
        ("/other.git/info/refs", 404, "E200"),
        ("/site.git/objects/info/alternates", 404, "E200"),
        ("/site.git/objects/info/http-alternates", 404, "E200"),
        ("/site.git/refs/heads/nowhere", 404, "E200"),
        ("/site.git", 400, "E100"),
        ("/site.git/../canary", 400, "E100"),
        ("/site.git/objects/../../../../canary", 400, "E100"),
        ("/site.git/%2e%2e/%2e%2e/canary", 400, "E100"),
        ("/site.git/..%2f..%2fcanary", 400, "E100"),
        ("/site.git//etc/passwd", 400, "E100"),
        ("/site.git/%00", 400, "E100"),
    ] {
        assert_eq!(served.get(path).error(), (status, code.to_owned()), "{path}");
    }
    let url = format!("{}/site.git/info/refs", served.url);
    assert_eq!(curl(&url, None, &[]).error(), (401, "E300".into()));
    assert_eq!(curl(&url, Some("wrong"), &[]).error(), (403, "E301".into()));
    let kinds = ["install.sh", "new.py", "sub%20dir/a%20file.yaml", ".gitignore"].map(|file| {
        let url = format!("{}/site.git/{file}", served.url);
        let head = curl(&url, Some(TOKEN), &["--head"]);
        let head = String::from_utf8(head.body).unwrap().to_lowercase();
        head.lines().find_map(|line| line.strip_prefix("content-type: ").map(str::to_owned)).unwrap()
    });
    assert_eq!(kinds, ["text/x-sh", "text/x-python", "text/yaml", "application/octet-stream"]);
    served.stage.strike();
}

#[test]
fn linked_work_trees_submodules_and_trees_without_a_commit_are_served() {
    let name = "linked_work_trees_submodules_and_trees_without_a_commit_are_served";
    let Some(served) = Served::set(name) else { return };
    let trees = &served.trees;
    done(&served.tree(), &["stash", "--quiet", "--include-untracked"]);
    done(&served.tree(), &["worktree", "add", "--quiet", "-b", "side", "../side"]);
    fs::write(trees.join("side/only.txt"), "side\n").unwrap();
    fs::create_dir(trees.join("fresh")).unwrap();
    done(&trees.join("fresh"), &["init", "--quiet", "."]);
    fs::write(trees.join("fresh/first.txt"), "first\n").unwrap();
    done(&trees.join("side"), &["submodule", "--quiet", "add", &served.tree().display().to_string(), "module"]);
    served.found_anew("/fresh.git/first.txt");
    assert_eq!(served.get("/side.git/only.txt").body, b"side\n");
    assert_eq!(fs::read_to_string(served.clone("fresh", "fresh-clone").join("first.txt")).unwrap(), "first\n");
    let clone = served.clone("side", "side-clone");
    assert!(done(&clone, &["ls-tree", "HEAD", "module"]).starts_with("160000 commit "));
    let status: Value = served.stage.json(0, &["server", "status"]);
    assert_eq!((status["healthy"].as_bool(), status["repo_token"].as_str()), (Some(true), None), "{status}");
    served.stage.strike();
}

#[test]
fn a_token_is_drawn_where_none_is_given_and_never_empty() {
    let name = "a_token_is_drawn_where_none_is_given_and_never_empty";
    let Some(mut served) = Served::set(name) else { return };
    served.stage.coord(&["server", "stop"]).exits(0);
    served.stage.env("HOMESTAK_REPO_TOKEN", "");
    let trees = served.trees.display().to_string();
    let server = served.stage.json(0, &["server", "start", "--repos", &trees]);
    let (token, url) = (server["repo_token"].as_str().unwrap(), server["url"].as_str().unwrap());
    assert_eq!(token.len(), 32);
    assert_eq!(curl(&format!("{url}/site.git/HEAD"), Some(token), &[]).status, 200);
    assert_eq!(curl(&format!("{url}/site.git/HEAD"), Some(""), &[]).error(), (401, "E300".into()));
    served.stage.coord(&["server", "stop"]).exits(0);
    let nothing = served.stage.folder().join("home").display().to_string();
    let refused = served.stage.json(3, &["server", "start", "--repos", &nothing]);
    assert!(refused["error"]["message"].as_str().unwrap().contains("no git work tree"), "{refused}");
}

#[test]
fn a_shallow_work_tree_is_served_as_what_lies_in_it_and_nobody_is_promised_part_of_a_history() {
    let name = "a_shallow_work_tree_is_served_as_what_lies_in_it_and_nobody_is_promised_part_of_a_history";
    let Some(served) = Served::set(name) else { return };
    done(&served.tree(), &["add", "--all"]);
    done(&served.tree(), &["commit", "--quiet", "-m", "two"]);
    let from = format!("file://{}", served.tree().display());
    done(&served.trees, &["clone", "--quiet", "--depth", "1", &from, "shallow"]);
    let shallow = served.trees.join("shallow");
    assert_eq!(done(&shallow, &["rev-parse", "--is-shallow-repository"]).trim(), "true");
    fs::write(shallow.join("more.txt"), "more\n").unwrap();
    served.found_anew("/shallow.git/more.txt");
    let clone = served.clone("shallow", "whole");
    let read = |file: &str| fs::read_to_string(clone.join(file)).unwrap_or_default();
    assert_eq!((read("more.txt"), read("install.sh")), ("more\n".into(), "#!/bin/sh\necho changed\n".into()));
    assert_eq!(done(&clone, &["rev-list", "--count", "HEAD"]).trim(), "1");
    fs::write(shallow.join("more.txt"), "even more\n").unwrap();
    served.fetch(&clone);
    assert_eq!(done(&clone, &["show", "origin/_working:more.txt"]), "even more\n");

    // The protocol has no way to ask for less than everything; git says so, and leaves nothing behind.
    let header = format!("http.extraHeader=Authorization: Bearer {TOKEN}");
    let url = format!("{}/site.git", served.url);
    let part = git(served.stage.folder(), &["-c", &header, "clone", "--depth", "1", &url, "part"]);
    let words = String::from_utf8_lossy(&part.stderr).into_owned();
    assert!(!part.status.success() && words.contains("dumb http transport does not support shallow"), "{words}");
    assert!(!served.stage.folder().join("part").exists());
    served.stage.strike();
}

#[test]
fn without_git_no_repository_is_promised_and_everything_else_is() {
    let name = "without_git_no_repository_is_promised_and_everything_else_is";
    if !needs::program(name, "git") {
        return;
    }
    let mut stage = Stage::set("no-git");
    let tree = stage.folder().join("trees/site");
    fs::create_dir_all(&tree).unwrap();
    done(&tree, &["init", "--quiet", "."]);
    let nothing = stage.folder().join("nothing");
    fs::create_dir(&nothing).unwrap();
    stage.env("PATH", &nothing);
    let trees = stage.folder().join("trees").display().to_string();
    let refused = stage.json(3, &["server", "start", "--repos", &trees]);
    let said = |key: &str| refused["error"][key].as_str().unwrap_or_default().to_owned();
    assert!(said("message").contains("git cannot be run"), "{refused:#}");
    assert!(said("hint").contains("apt-get install git"), "{refused:#}");
    stage.coord(&["server", "status"]).exits(1);
    stage.json(0, &["server", "start"]);
    stage.strike();
}
