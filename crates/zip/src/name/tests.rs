//! Which names come out.

use super::*;

/// Adds names (folders end in `/`) and returns what they are in the archive.
fn placed(names: &[&str]) -> Vec<String> {
    let mut all = NameSet::with_capacity(0, 0);
    names
        .iter()
        .map(|name| {
            let kind = if name.ends_with('/') { NamedKind::Directory } else { NamedKind::File };
            match all.place(name, kind).unwrap() {
                NamePlacement::Free => {
                    let name = all.placed().to_owned();
                    all.commit();
                    name
                }
                NamePlacement::Known(start) => format!("known at {start}"),
            }
        })
        .collect()
}

#[test]
fn names_are_made_safe() {
    for (name, safe) in [
        ("a/b.txt", "a/b.txt"),
        ("/a//b/", "a/b/"),
        ("../../etc/passwd", "etc/passwd"),
        ("./a/./b/..", "a/b"),
        ("C:\\Windows\\x", "C__Windows_x"),
        ("a\0b\nc\u{7f}\u{85}", "a_b_c__"),
        ("*?\"<>|", "______"),
        ("", "_"),
        ("/", "_/"),
        ("..", "_"),
        ("...", "..."),
        ("ä/日本.txt", "ä/日本.txt"),
        (" a ", " a "),
    ] {
        assert_eq!(placed(&[name]), [safe], "{name:?}");
    }
}

#[test]
fn a_taken_name_gets_a_number_before_its_extension() {
    assert_eq!(placed(&["a.txt", "a.txt", "a.txt"]), ["a.txt", "a (1).txt", "a (2).txt"]);
    assert_eq!(placed(&["x.tar.gz", "x.tar.gz"]), ["x.tar.gz", "x (1).tar.gz"]);
    assert_eq!(placed(&[".tar.gz", ".tar.gz"]), [".tar.gz", ".tar (1).gz"]);
    assert_eq!(placed(&[".bashrc", ".bashrc"]), [".bashrc", ".bashrc (1)"]);
    assert_eq!(placed(&["d.x/a", "d.x/a"]), ["d.x/a", "d.x/a (1)"]);
    assert_eq!(placed(&["a (1).txt", "a.txt", "a.txt"]), ["a (1).txt", "a.txt", "a (2).txt"]);
    assert_eq!(placed(&["a:b", "a?b"]), ["a_b", "a_b (1)"]);
}

#[test]
fn a_file_never_clobbers_a_folder_nor_a_folder_a_file() {
    assert_eq!(placed(&["a/b", "a"]), ["a/b", "a (1)"]);
    assert_eq!(placed(&["a/", "a"]), ["a/", "a (1)"]);
    assert_eq!(placed(&["a/b/c", "a", "a/b"]), ["a/b/c", "a (1)", "a/b (1)"]);
    // The folder moves with all that is in it.
    assert_eq!(
        placed(&["a", "a/b", "a/c/d", "a/", "x", "a/b"]),
        ["a", "a (1)/b", "a (1)/c/d", "a (1)/", "x", "a (1)/b (1)"]
    );
    assert_eq!(placed(&["a.d", "a.d/b", "a.d (1)"]), ["a.d", "a.d (1)/b", "a.d (1) (1)"]);
    assert_eq!(placed(&["a", "a (1)", "a/b"]), ["a", "a (1)", "a (2)/b"]);
}

#[test]
fn a_folder_is_one_entry() {
    assert_eq!(placed(&["a/", "a/"]), ["a/", "known at 0"]);
    assert_eq!(placed(&["x", "a/b", "a/", "a/", "a/b/"]), ["x", "a/b", "a/", "known at 4", "a/b (1)/"]);
    assert_eq!(placed(&["a/b/", "a/", "a/b/", "a/c"]), ["a/b/", "a/", "known at 0", "a/c"]);
}

#[test]
fn long_parts_are_shortened_and_keep_their_extension() {
    let long = format!("{}.txt", "ä".repeat(300));
    let names = placed(&[&long, &long]);
    assert_eq!(names[0].len(), 255 - 1, "251 bytes are no whole characters");
    assert!(names[0].ends_with("ä.txt"));
    assert!(names[1].ends_with("ä (1).txt") && names[1].len() <= 255, "{}", names[1]);
    assert_eq!(placed(&[&"x".repeat(100_000)])[0].len(), 255);
}

#[test]
fn a_name_that_is_too_long_is_refused_and_forgotten() {
    let mut names = NameSet::with_capacity(0, 0);
    let long = "a/".repeat(50_000);
    assert!(matches!(names.place(&long, NamedKind::File), Err(LayoutError::NameTooLong { .. })));
    let longest = format!("{}z", "12345678/".repeat(455));
    assert_eq!(longest.len(), 4096);
    assert_eq!(names.place(&longest, NamedKind::File), Ok(NamePlacement::Free));
    // Not committed: nothing of it is taken.
    assert_eq!(names.place("12345678", NamedKind::File), Ok(NamePlacement::Free));
    assert_eq!(names.placed(), "12345678");
    names.commit();
    assert!(
        matches!(names.place(&longest, NamedKind::File), Err(LayoutError::NameTooLong { .. })),
        "it would have to move"
    );
}

#[test]
fn a_place_that_was_not_taken_leaves_no_folder() {
    let mut names = NameSet::with_capacity(0, 0);
    assert_eq!(names.place("d/x", NamedKind::File), Ok(NamePlacement::Free));
    assert_eq!(names.place("d/x", NamedKind::File), Ok(NamePlacement::Free));
    names.commit();
    assert_eq!(names.place("d", NamedKind::File), Ok(NamePlacement::Free));
    assert_eq!(names.placed(), "d (1)");
    names.commit();
    assert_eq!(names.place("d/", NamedKind::Directory), Ok(NamePlacement::Free));
    assert_eq!(names.place("d/y", NamedKind::File), Ok(NamePlacement::Free));
    assert_eq!(names.placed(), "d/y");
}

/// Quadratic, this takes minutes: zip_tricks PR #14.
#[test]
fn many_files_of_one_name_are_no_trouble() {
    let long = "y".repeat(300);
    for name in ["a.txt", "folder/a.txt", long.as_str()] {
        let names = placed(&vec![name; 40_000]);
        assert!(names[39_999].contains(" (39999)"), "{}", names[39_999]);
    }
    // The same with names that become one only when they are shortened.
    let mut all = NameSet::with_capacity(0, 0);
    for i in 0..40_000 {
        all.place(&format!("{}{i}", "z".repeat(255)), NamedKind::File).unwrap();
        all.commit();
    }
    assert!(all.placed().ends_with(" (39999)"));
    // And with a folder that meets a file, again and again.
    let mut all = NameSet::with_capacity(0, 0);
    for i in 0..40_000 {
        all.place(&format!("f{}", i / 2), NamedKind::File).unwrap();
        all.commit();
        all.place(&format!("f{}/x", i / 2), NamedKind::File).unwrap();
        all.commit();
    }
}
