//! Captures that meshpcap wrote itself, where captures of a pod are expected.

use snapbox::{assert_data_eq, str};

use crate::{folder, packets, run, told};

#[test]
fn in_a_folder_they_are_left_out_and_may_be_written_anew() {
    let folder = folder();
    let written = || std::fs::read(folder.path().join("fixed.pcapng")).expect("the output");
    let first = told(&run(&folder, "merge . -o fixed.pcapng"));
    let once = written();
    let told = told(&run(&folder, "merge . -o fixed.pcapng"));
    assert_eq!(told.replacen("meshpcap: not used: ./fixed.pcapng: meshpcap wrote it\n", "", 1), first);
    assert_eq!(written(), once);
}

#[test]
fn alone_in_a_folder_they_are_no_input() {
    let folder = folder();
    assert!(run(&folder, "merge eth0.pcap lo.pcap -q -o fixed.pcapng").status.success());
    std::fs::remove_file(folder.path().join("eth0.pcap")).expect("it is there");
    std::fs::remove_file(folder.path().join("lo.pcap")).expect("it is there");
    assert_data_eq!(
        told(&run(&folder, "merge . -o again.pcapng")),
        str![[r#"
2
meshpcap: not used: ./fixed.pcapng: meshpcap wrote it
meshpcap: .: meshpcap wrote what is in it; name the captures that it was made of

"#]]
    );
}

#[test]
fn named_they_are_merged_with_a_word_and_not_checked() {
    let folder = folder();
    assert!(run(&folder, "merge eth0.pcap lo.pcap -q -o fixed.pcapng").status.success());
    let again = told(&run(&folder, "merge fixed.pcapng -q -o again.pcapng"));
    assert!(again.starts_with("0\nmeshpcap: fixed.pcapng: meshpcap wrote it: "), "{again}");
    assert_eq!(packets(&folder, "again.pcapng"), 20);
    assert_data_eq!(
        told(&run(&folder, "check fixed.pcapng")),
        "2\nmeshpcap: fixed.pcapng: meshpcap wrote it; name the captures that it was made of\n"
    );
}
