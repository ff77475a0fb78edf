//! The stable codes of what is wrong with a file, in one table. `E` refuses the file, `W` warns about it.
//!
//! A code that was released never changes its meaning and is never given to something else.

use std::fmt;

macro_rules! codes {
    ($($name:ident = $text:literal, $meaning:literal;)*) => {
        /// What is wrong with a file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $meaning] $name,)* }

        impl Code {
            /// Every code there is, in the order of the table.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// As users see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// What it means, in one line.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    TooLarge = "E600", "The file has more bytes than are read.";
    NotText = "E601", "The file is not UTF-8 text.";
    Syntax = "E602", "The file is not YAML.";
    TooNested = "E603", "Lists and mappings are nested deeper than is read.";
    TooManyValues = "E604", "The file holds more values than are read, aliases counted with all that they stand for.";
    TooManyAliases = "E605", "The file uses more aliases than are read.";
    TooLong = "E606", "One piece of the file, such as a bracketed list that may turn out to be a key, is longer than is read at once.";
    SecondDocument = "E607", "The file holds more than one document.";
    DuplicateKey = "E608", "A key stands twice in one mapping.";
    Unsupported = "E609", "YAML that no file of this system uses: tags of types of one's own, keys that are lists or mappings.";
    VersionMissing = "E610", "`schema_version` is missing.";
    VersionUnsupported = "E611", "`schema_version` is not one that is read.";
    NameMissing = "E612", "The manifest has no name.";
    NodesMissing = "E613", "The manifest has no nodes.";
    NodesEmpty = "E614", "The list of nodes is empty.";
    NodeNameMissing = "E615", "A node has no name.";
    NodeTypeMissing = "E616", "A node has no type.";
    UnknownKey = "E617", "A key that the schema does not know.";
    UnknownValue = "E618", "A value that is none of those to choose from.";
    WrongType = "E619", "A value of another type than is wanted.";
    OddNumber = "E620", "A number spelt in a way that readers of YAML disagree about.";
    OutOfRange = "E621", "A number outside of what is allowed.";
    BadName = "E622", "A name that is none of its kind.";
    DuplicateNode = "E623", "Two nodes have the same name.";
    UnknownParent = "E624", "A node's parent is not in the manifest.";
    Cycle = "E625", "Nodes are each other's parents.";
    ParentNotPve = "E626", "A node's parent cannot carry nodes, as it is not of type `pve`.";
    ImageMissing = "E627", "A node of type `vm` or `pve` has no image.";
    VmidTaken = "E628", "Two nodes on one host have the same vmid.";
    TooDeep = "E629", "A node lies deeper in the tree than is carried.";
    UnknownPreset = "E630", "The site has no preset of that name.";
    UnknownSpec = "E631", "The site has no spec of that name.";
    UnknownPosture = "E632", "The site has no posture of that name.";
    UnknownSshKey = "E633", "The site has no SSH key of that name.";
    SettingTwice = "E640", "A setting stands twice, under its older and its newer name.";
    BadAddress = "E641", "An address that does not have the form that is wanted.";
    KeyMissing = "E642", "A key that is needed is missing.";
    BadFileName = "E643", "A file's name, up to its ending, is no name of what it describes.";
    Unreadable = "E644", "A file or folder of the site cannot be read.";
    TooManyFiles = "E645", "The site has more files, or more bytes in them, than are read.";
    Repeated = "E646", "A list names something twice that can be there only once.";
    SiteUnusable = "E649", "Files of the site have errors.";
    SecretsUnreadable = "E660", "The secrets file cannot be opened.";
    SigningKeyInvalid = "E661", "A signing key that is not 64 hexadecimal digits.";
    PrivateKey = "E662", "A private key where a public one belongs.";
    NoKeyFits = "E663", "The secrets are encrypted and no age identity at hand opens them.";
    SopsMalformed = "E664", "The file's `sops` section, or a value of it, is not in SOPS's form.";
    SopsUnsupported = "E665", "The file uses a part of SOPS that is not read here.";
    SopsTampered = "E666", "An encrypted value was changed, moved or cut since it was encrypted.";
    SopsMac = "E667", "The values of the file do not add up to its message authentication code.";
    AgeMalformed = "E668", "The file, or the data key in it, is not in age's form.";
    RuleInvalid = "E670", "A creation rule of `.sops.yaml` that cannot be followed.";
    RecipientInvalid = "E671", "An age recipient that is none.";
    SecretsThere = "E672", "The site has secrets already, and they are not overwritten.";
    SecretsUnwritable = "E673", "The secrets file cannot be written or removed.";
    TooMuchMemory = "E680", "Machines need more memory than what carries them has.";
    TooManyCores = "E681", "A machine is to have more processors than what carries it has.";
    TooMuchDisk = "E682", "A machine is to have a larger disk than what carries it has.";
    NoNesting = "E683", "A virtual machine is to run inside another one on a host that does not allow it.";
    AddressTaken = "E684", "Two machines are to have the same address.";
    NameTaken = "E686", "A machine on a host is to have the name of another tree's.";
    More = "E699", "There are more problems than are shown.";
    PullOnPve = "W610", "A node of type `pve` asks for `mode: pull`: PVE hosts are always configured by push.";
    UnusualVmid = "W611", "A vmid that does not have the five digits that homestak's own have.";
    FlatWithParents = "W612", "The manifest says `pattern: flat`, yet nodes of it have parents.";
    KeyIgnored = "W640", "A key that nothing reads, in a file that may hold keys of other programs.";
    NoEffect = "W641", "A setting that is accepted and does nothing yet.";
    UnknownHost = "W642", "A node's host has no file in the site.";
    NoApiToken = "W643", "The secrets hold no API token for a node.";
    NameDiffers = "W644", "A file names itself otherwise than it is called.";
    FileIgnored = "W645", "A file of the site folder that is not read.";
    MemoryTight = "W680", "Machines leave little memory to what carries them.";
    CoresTight = "W681", "Machines share few processors.";
    DiskTight = "W682", "Disks of machines fit until they fill up.";
    NestingUnsure = "W683", "A virtual machine is to run inside another one on a host that says that it does not allow it.";
    AddressShared = "W684", "Two machines are to have the same address where addresses are not real.";
    SecretsOpen = "W660", "Others can read the plain secrets file.";
    SecretsStale = "W661", "The plain secrets file is older than the encrypted one beside it.";
    SecretsUnknown = "W662", "A section or key of the secrets file that nothing reads.";
    SecretEmpty = "W663", "A name in the secrets file that has no value.";
    OddPublicKey = "W664", "An SSH key that does not look like a public key.";
    IdentitiesOpen = "W665", "Others can read the file of age identities.";
    SecretsIgnored = "W666", "A secrets file that is not read because another one comes first.";
    IdentityInvalid = "W668", "A line or file of age identities that is not read.";
    NotAHash = "W667", "A root password that is not the hash of one.";
}

impl From<Code> for &'static str {
    fn from(code: Code) -> &'static str {
        code.as_str()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_given_once_and_says_whether_it_refuses() {
        let texts: HashSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            let (kind, digits) = code.as_str().split_at(1);
            assert!(matches!(kind, "E" | "W"), "{code}");
            assert!(digits.len() == 3 && digits.starts_with('6'), "{code}");
            assert!(code.meaning().ends_with('.'));
        }
    }
}
