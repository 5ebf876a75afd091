use std::os::unix::fs::PermissionsExt;

use super::*;

/// An entry as somebody may write it, whatever is true.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    content: Vec<u8>,
    /// What the directory says of its size.
    size: Option<u32>,
    method: u16,
    flags: u16,
    mode: u32,
}

fn entry(name: &str, content: &[u8]) -> Entry {
    let (name, content) = (name.as_bytes().to_vec(), content.to_vec());
    Entry { name, content, size: None, method: 0, flags: 0, mode: 0o100_644 }
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

/// The fields that an entry has at its place and in the directory.
fn common(entry: &Entry) -> Vec<u8> {
    let mut bytes = vec![];
    for field in [20, entry.flags, entry.method, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    let packed = u32::try_from(entry.content.len()).unwrap();
    for field in [crc(&entry.content), packed, entry.size.unwrap_or(packed)] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(u16::try_from(entry.name.len()).unwrap().to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes
}

/// A zip of these, whose end says that there are `count` of them.
fn zip(entries: &[Entry], count: Option<u16>) -> Vec<u8> {
    let (mut zip, mut directory) = (vec![], vec![]);
    for entry in entries {
        let at = u32::try_from(zip.len()).unwrap();
        zip.extend(b"PK\x03\x04");
        zip.extend(common(entry));
        zip.extend(&entry.name);
        zip.extend(&entry.content);
        directory.extend(b"PK\x01\x02");
        directory.extend((3_u16 << 8 | 20).to_le_bytes()); // made on Unix
        directory.extend(common(entry));
        directory.extend([0; 6]); // no comment, first disk, no internal attributes
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(at.to_le_bytes());
        directory.extend(&entry.name);
    }
    let (at, count) = (zip.len(), count.unwrap_or(u16::try_from(entries.len()).unwrap()));
    zip.extend(&directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend(count.to_le_bytes());
    zip.extend(count.to_le_bytes());
    zip.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    zip.extend(u32::try_from(at).unwrap().to_le_bytes());
    zip.extend(0_u16.to_le_bytes());
    zip
}

/// What unpacking answers, in an empty directory below another, which must stay as it is.
fn unpack(zip: &[u8], max_bytes: u64) -> (tempfile::TempDir, Result<(), String>) {
    let dir = tempfile::tempdir().unwrap();
    let (archive, into) = (dir.path().join("archive"), dir.path().join("into"));
    fs::write(&archive, zip).unwrap();
    fs::create_dir(&into).unwrap();
    let answer = unzip(&archive, &into, max_bytes, &CancellationToken::new());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is written beside it");
    let answer = answer.map_err(|error| match error {
        UnzipError::Refused(why) => why,
        error => panic!("it is the zip's fault: {error}"),
    });
    (dir, answer)
}

const ROOM: u64 = 64 << 20;

#[test]
fn what_is_in_a_good_one_is_written() {
    let program = Entry { mode: 0o100_755, ..entry("output/bin/run", b"#!") };
    let plain = Entry { mode: 0, ..entry("output/日本.mjs", "ü".as_bytes()) };
    let all = [entry("output/", b""), entry("output/index.mjs", b"x"), program, plain];
    let mut all = all.to_vec();
    all[0].mode = 0o040_755;
    let (dir, answer) = unpack(&zip(&all, None), ROOM);
    answer.unwrap();
    let into = dir.path().join("into/output");
    assert_eq!(fs::read_to_string(into.join("index.mjs")).unwrap(), "x");
    assert_eq!(fs::read_to_string(into.join("日本.mjs")).unwrap(), "ü");
    let mode = |name: &str| fs::metadata(into.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("index.mjs") & 0o111, mode("bin/run") & 0o100), (0, 0o100));
}

#[test]
fn a_name_never_leads_out() {
    for name in [
        "../x",
        "a/../../x",
        "a/..",
        "/etc/passwd",
        "//x",
        "a//b",
        "./x",
        "a/./b",
        "..",
        ".",
        "",
        "/",
        "a\\..\\x",
        "a\0b",
        "a\nb",
    ] {
        let (_, answer) = unpack(&zip(&[entry(name, b"x")], None), ROOM);
        let why = answer.expect_err(name);
        assert!(why.contains("the name"), "{name:?}: {why}");
    }
    let (_, answer) = unpack(&zip(&[Entry { name: b"a\xff".to_vec(), ..entry("", b"x") }], None), ROOM);
    assert!(answer.unwrap_err().contains("UTF-8"));
    for name in ["x".repeat(256), "x/".repeat(65) + "x", "x".repeat(200).repeat(6)] {
        unpack(&zip(&[entry(&name, b"x")], None), ROOM).1.expect_err("too long");
    }
}

#[test]
fn directories_that_only_names_tell_of_are_counted() {
    // Each of these is a directory for each letter: few entries, no bytes, and more inodes than a disk has.
    let deep = |n: usize| entry(&format!("{n}/{}x", "a/".repeat(60)), b"");
    let bomb: Vec<Entry> = (0..400).map(deep).collect();
    let why = unpack(&zip(&bomb, None), ROOM).1.expect_err("too many directories");
    assert!(why.contains("files and directories"), "{why}");
    unpack(&zip(&bomb[..100], None), ROOM).1.unwrap();
}

#[test]
fn there_is_nothing_but_files_and_directories() {
    for kind in [0o120_777, 0o020_666, 0o060_666, 0o010_644, 0o140_644, 0o040_755] {
        let odd = Entry { mode: kind, ..entry("a", b"/etc/passwd") };
        let why = unpack(&zip(&[odd], None), ROOM).1.expect_err("no file");
        assert!(why.contains("neither a file nor a directory"), "{why}");
    }
    let locked = Entry { flags: 1, ..entry("a", b"x") };
    assert!(unpack(&zip(&[locked], None), ROOM).1.unwrap_err().contains("encrypted"));
    for method in [1, 9, 12, 14, 93, 95, 99] {
        let odd = Entry { method, ..entry("a", b"x") };
        unpack(&zip(&[odd], None), ROOM).1.expect_err("an unknown method");
    }
}

#[test]
fn a_name_is_there_once_whatever_its_capitals_and_kind() {
    for (names, words) in [
        (["a", "a"], "twice"),
        (["a/b", "a/b"], "twice"),
        (["a", "A"], "capital letters"),
        (["dir/x", "DIR/y"], "capital letters"),
        (["a", "a/b"], "twice"),
        (["a/b", "a"], "twice"),
        (["Ü", "ü"], "capital letters"),
    ] {
        let entries = names.map(|name| entry(name, b"x"));
        let why = unpack(&zip(&entries, None), ROOM).1.expect_err("a clash");
        assert!(why.contains(words), "{names:?}: {why}");
    }
    let again = Entry { mode: 0o040_755, ..entry("a/", b"") };
    unpack(&zip(&[again.clone(), entry("a/b", b"x"), again], None), ROOM).1.unwrap();
}

#[test]
fn sizes_are_counted_and_not_believed() {
    let why = |zip: &[u8], room| unpack(zip, room).1.expect_err("too much, or a lie");
    let four = entry("a", &[0; 4096]);
    assert!(why(&zip(&[four.clone(), entry("b", b"x")], None), 4096).contains("more than"));
    for size in [0, 1, 4095, 4097, u32::MAX] {
        why(&zip(&[Entry { size: Some(size), ..four.clone() }], None), ROOM);
    }
    // 32 MiB of zeros in some 32 KiB.
    let bomb = {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(vec![]));
        writer.start_file("zeros", zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(&vec![0; 32 << 20]).unwrap();
        writer.finish().unwrap().into_inner()
    };
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    assert!(why(&bomb, u64::MAX).contains("more than"), "by its ratio");
    assert!(why(&bomb, 1 << 20).contains("more than"), "by its size");
    let mut damaged = zip(&[four], None);
    damaged[100] ^= 1;
    assert!(why(&damaged, ROOM).contains("damaged"));
}

#[test]
fn an_entry_that_overlaps_others_is_bounded_like_them() {
    // Many names for the same bytes: the directory of one entry, over and over.
    let content = vec![7; 1 << 20];
    let one = zip(&[entry("a0000", &content)], None);
    let end = one.len() - 22;
    let header = one[end - 46 - 5..end].to_vec();
    let (mut zip, start) = (one[..end - 51].to_vec(), end - 51);
    for n in 0..200 {
        let mut header = header.clone();
        header[46..].copy_from_slice(format!("a{n:04}").as_bytes());
        zip.extend(header);
    }
    let size = zip.len() - start;
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend([200_u16.to_le_bytes(), 200_u16.to_le_bytes()].concat());
    zip.extend(u32::try_from(size).unwrap().to_le_bytes());
    zip.extend(u32::try_from(start).unwrap().to_le_bytes());
    zip.extend(0_u16.to_le_bytes());
    let why = unpack(&zip, u64::MAX).1.expect_err("200 MiB of one");
    assert!(why.contains("more than") || why.contains("damaged"), "{why}");
}

#[test]
fn what_an_end_claims_is_no_reason_to_do_anything() {
    let good = [entry("a", b"x")];
    unpack(&zip(&good, Some(u16::MAX - 1)), ROOM).1.expect_err("more than there are");
    // The end of a large archive, which claims a million entries, or as many as can be written.
    for count in [1_000_000_u64, u64::MAX, u64::MAX / 46] {
        let mut large = zip(&good, None);
        let end = large.len() - 22;
        let small_end = large.split_off(end);
        let at = large.len() as u64;
        large.extend(b"PK\x06\x06");
        large.extend(44_u64.to_le_bytes());
        large.extend([45_u16.to_le_bytes(), 45_u16.to_le_bytes()].concat());
        large.extend([0; 8]);
        large.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
        large.extend([u64::MAX.to_le_bytes(), 0_u64.to_le_bytes()].concat());
        large.extend(b"PK\x06\x07\0\0\0\0");
        large.extend(at.to_le_bytes());
        large.extend(1_u32.to_le_bytes());
        let mut small_end = small_end;
        small_end[8..20].fill(0xff);
        large.extend(small_end);
        unpack(&large, ROOM).1.expect_err("so many");
    }
    let many: Vec<Entry> = (0..=MAX_ENTRIES).map(|n| entry(&format!("{n}"), b"")).collect();
    let why = unpack(&zip(&many, None), ROOM).1.expect_err("too many");
    assert!(why.contains("entries"), "{why}");
}

#[test]
fn what_is_no_zip_is_none() {
    let good = zip(&[entry("a", b"x")], None);
    for bytes in
        [&b""[..], b"PK", b"PK\x05\x06", &[0; 22], &[0xff; 4096], &good[..good.len() - 1], &good[1..]]
    {
        unpack(bytes, ROOM).1.expect_err("no zip");
    }
    for cut in 1..good.len() {
        drop(unpack(&good[..cut], ROOM));
    }
    for at in 0..good.len() {
        let mut bent = good.clone();
        bent[at] ^= 0xff;
        drop(unpack(&bent, ROOM));
    }
}

#[test]
fn nobody_unpacks_what_nobody_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    fs::write(&archive, zip(&[entry("a", b"x")], None)).unwrap();
    let abandoned = CancellationToken::new();
    abandoned.cancel();
    let answer = unzip(&archive, dir.path(), ROOM, &abandoned);
    assert!(matches!(answer, Err(UnzipError::Abandoned)));
}
