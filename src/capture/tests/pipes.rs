//! Sources that pause, and interrupts.

use std::time::Duration;

use super::*;
use crate::capture::bytes::Order;

#[test]
fn an_interrupt_ends_a_file_without_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("long.pcap");
    let file = build::Bytes::new(Order::Little).pcap_header(0xa1b2_c3d4, (2, 4), 65535, 1);
    std::fs::write(&path, (0..2000).fold(file, |file, i| file.record(i, 0, 1000, &[1; 1000])).1).unwrap();
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut capture = Capture::open(&Source::Path(path), 0, Arc::clone(&interrupted)).unwrap();
    assert!(capture.advance().unwrap().is_some());
    interrupted.store(true, Ordering::Relaxed);
    let rest = drain(capture);
    assert!(rest.error.is_none() && rest.packets.len() < 1000);
}

#[cfg(unix)]
mod unix {
    use std::io::Write;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn fifo(directory: &tempfile::TempDir) -> std::path::PathBuf {
        let path = directory.path().join("fifo");
        let status = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(status.success());
        path
    }

    #[test]
    fn a_fifo_delivers_what_is_there_and_ends_when_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(&directory);
        let whole = build::pcap(Order::Little);
        let (done, wait) = mpsc::channel::<()>();
        let writer = {
            let path = path.clone();
            // Half a record at the end; then silence.
            let part = whole[..whole.len() - 20].to_vec();
            thread::spawn(move || {
                let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                file.write_all(&part).unwrap();
                wait.recv().unwrap_err();
            })
        };
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut capture = Capture::open(&Source::Path(path), 0, Arc::clone(&interrupted)).unwrap();
        assert!(capture.is_stream() && capture.progress().total.is_none());
        for _ in 0..99 {
            assert!(capture.advance().unwrap().is_some());
        }
        let interrupt = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            interrupted.store(true, Ordering::Relaxed);
        });
        // Waits for the second half of the last record, until interrupted.
        assert!(capture.advance().unwrap().is_none());
        interrupt.join().unwrap();
        drop(done);
        writer.join().unwrap();
    }

    #[test]
    fn a_fifo_that_nobody_opens_can_be_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let interrupted = Arc::new(AtomicBool::new(true));
        let error = Capture::open(&Source::Path(fifo(&directory)), 0, interrupted).err().unwrap();
        assert!(matches!(error, Error::Empty { .. }));
    }

    #[test]
    fn a_writer_is_not_stopped_while_nobody_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(&directory);
        let input = Input::start(&Source::Path(path.clone()), 0, Arc::default()).unwrap();
        let whole = build::pcap(Order::Little);
        let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all(&whole).unwrap();
        // More than a pipe holds.
        for _ in 0..40 {
            file.write_all(&whole[24..]).unwrap();
        }
        drop(file);
        assert_eq!(drain(Capture::from_input(input).unwrap()).packets.len(), 4100);
    }
}
