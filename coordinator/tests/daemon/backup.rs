//! What must not be lost, taken from a running daemon and brought back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::stage::Stage;

#[test]
fn a_backup_of_a_running_daemon_makes_the_same_coordinator_elsewhere() {
    let stage = Stage::set();
    let before = {
        let _daemon = stage.foreground(&[]);
        stage.json(0, &["agents", "join", "-H", "father"]);
        let file = stage.folder().join("backup");
        let backup = stage.json(0, &["server", "backup", file.to_str().unwrap()]);
        assert_eq!(backup["bytes"], fs::metadata(&file).unwrap().len());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // Nothing of the copy stays behind.
        let left: Vec<_> =
            fs::read_dir(stage.state().join("coord")).unwrap().flatten().map(|f| f.file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("copy-")), "{left:?}");
        stage.json(0, &["server", "status"])
    };
    let key = fs::read(stage.state().join("coord/signing.key")).unwrap();
    fs::remove_dir_all(stage.state()).unwrap();
    let file = stage.folder().join("backup");
    stage.json(0, &["server", "restore", file.to_str().unwrap()]);
    assert_eq!(fs::read(stage.state().join("coord/signing.key")).unwrap(), key);
    let _daemon = stage.foreground(&[]);
    let after = stage.json(0, &["server", "status"]);
    assert_eq!((&after["ca"], &after["port"]), (&before["ca"], &before["port"]));
    // The host that was let in is still known: it is absent, not unheard of.
    let refused = stage.json(4, &["apply", "n1-push", "-H", "stranger"]);
    assert!(refused["error"]["message"].as_str().unwrap().contains("ever joined"), "{refused:#}");
    let absent = stage.json(4, &["apply", "n1-push", "-H", "father"]);
    assert!(absent["error"]["message"].as_str().unwrap().contains("no link"), "{absent:#}");
}

#[test]
fn a_backup_overwrites_nothing_and_a_restore_needs_an_empty_folder_and_a_whole_backup() {
    let stage = Stage::set();
    let file = stage.folder().join("file");
    let path = file.to_str().unwrap();
    {
        let _daemon = stage.foreground(&[]);
        fs::write(&file, "somebody's").unwrap();
        assert_eq!(stage.coord(&["server", "backup", path]).status.code(), Some(3));
        assert_eq!(fs::read(&file).unwrap(), b"somebody's");
        fs::remove_file(&file).unwrap();
        stage.json(0, &["server", "backup", path]);
        let refused = stage.json(3, &["server", "restore", path]);
        assert!(refused["error"]["message"].as_str().unwrap().contains("not empty"), "{refused:#}");
    }
    fs::remove_dir_all(stage.state()).unwrap();
    let whole = fs::read(&file).unwrap();
    let mut torn = whole.clone();
    torn.truncate(whole.len() / 2);
    for bad in [b"not a backup".to_vec(), Vec::new(), torn] {
        fs::write(&file, bad).unwrap();
        stage.json(3, &["server", "restore", path]);
        assert!(!stage.state().join("coord").exists());
    }
    fs::write(&file, whole).unwrap();
    stage.json(0, &["server", "restore", path]);
}
