//! docs/diff.md shows what is printed.

use std::path::Path;
use std::process::Command;

#[test]
fn the_documents_show_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/diff.md")).expect("a document");
    let mut blocks = document.split("```").skip(1).step_by(2);
    let (command, shown) = (blocks.next().expect("the command"), blocks.next().expect("what it prints"));
    let args = command.trim().strip_prefix("sh\nmeshpcap ").expect("a command").split(' ');
    let run = Command::new(env!("CARGO_BIN_EXE_meshpcap")).current_dir(root).args(args).output().expect("it runs");
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&run.stdout), shown.strip_prefix("text\n").expect("text"));
    for name in meshpcap::diff::VOLATILE {
        assert!(document.contains(&format!("`{name}`")), "{name}");
    }
}
