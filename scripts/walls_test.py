"""Tests of scripts/doors, scripts/words and scripts/texts: each wall is broken once, in a small tree of its own.

    python3 scripts/walls_test.py
"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).parent


class Walls(unittest.TestCase):
    """A tree of crates in a temporary folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def crate(self, name, files, dependencies=()):
        folder = self.root / "crates" / name
        manifest = f'[package]\nname = "outflow-{name}"\n\n[dependencies]\n'
        manifest += "".join(f"{dependency}.workspace = true\n" for dependency in dependencies)
        self.write(folder / "Cargo.toml", manifest)
        for path, text in files.items():
            self.write(folder / "src" / path, text)

    def write(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_script(self, script):
        command = [sys.executable, str(SCRIPTS / script), str(self.root)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def refused(self, script, *parts):
        code, output = self.run_script(script)
        self.assertEqual(code, 1, output)
        for part in parts:
            self.assertIn(part, output)

    def accepted(self, script):
        code, output = self.run_script(script)
        self.assertEqual(code, 0, output)
        return output


class Doors(Walls):
    def test_imports_that_run_down_are_accepted_and_drawn(self):
        self.crate("content", {"lib.rs": "pub struct Span;\n"})
        self.crate("wire", {"lib.rs": "mod send;\n", "send/mod.rs": "use outflow_content::Span;\n"})
        self.assertIn("wire -> content", self.accepted("doors"))

    def test_an_import_that_runs_up_is_named_with_file_and_line(self):
        self.crate("wire", {"lib.rs": "pub struct Engine;\n"})
        self.crate("content", {"lib.rs": "mod span;\n", "span.rs": "\nuse outflow_wire::Engine;\n"})
        self.refused("doors", "content may not import wire: crates/content/src/span.rs:2 takes Engine")

    def test_an_inline_path_is_an_import(self):
        self.crate("wire", {"lib.rs": "pub fn serve() {}\n"})
        self.crate("zip", {"lib.rs": "fn run() { outflow_wire::serve() }\n"})
        self.refused("doors", "zip may not import wire: crates/zip/src/lib.rs:1 takes serve")

    def test_a_dependency_that_runs_up_is_refused_even_if_unused(self):
        self.crate("testkit", {"lib.rs": "\n"})
        self.crate("wire", {"lib.rs": "\n"}, ["outflow-testkit"])
        self.refused("doors", "wire may not depend on testkit: crates/wire/Cargo.toml")

    def test_a_crate_without_doors_is_refused(self):
        self.crate("attic", {"lib.rs": "\n"})
        self.refused("doors", "crates/attic is not in DOORS")

    def test_a_circle_of_three_files_names_the_files_and_the_names(self):
        files = {
            "lib.rs": "mod a;\nmod b;\nmod c;\n",
            "a.rs": "use crate::b::B;\npub struct A;\n",
            "b.rs": "use crate::c::{C, D};\npub struct B;\n",
            "c.rs": "use super::a::A;\npub struct C;\npub struct D;\n",
        }
        self.crate("zip", files)
        self.refused(
            "doors",
            "circle of 3 files: crates/zip/src/a.rs, crates/zip/src/b.rs, crates/zip/src/c.rs",
            "crates/zip/src/a.rs takes B from crates/zip/src/b.rs",
            "crates/zip/src/b.rs takes C, D from crates/zip/src/c.rs",
            "crates/zip/src/c.rs takes A from crates/zip/src/a.rs",
        )

    def test_a_circle_of_two_files_is_accepted(self):
        files = {"lib.rs": "mod a;\nmod b;\n", "a.rs": "use crate::b::B;\n", "b.rs": "use crate::a::A;\n"}
        self.crate("zip", files)
        self.accepted("doors")

    def test_a_re_export_leads_to_the_file_behind_it(self):
        files = {
            "lib.rs": "mod a;\nmod b;\nmod c;\npub use a::A;\npub use b::B;\npub use c::C;\n",
            "a.rs": "use crate::B;\n",
            "b.rs": "use crate::C;\n",
            "c.rs": "use crate::A;\n",
        }
        self.crate("zip", files)
        self.refused("doors", "circle of 3 files", "crates/zip/src/c.rs takes A from crates/zip/src/a.rs")

    def test_a_circle_of_folders_names_the_imports(self):
        files = {
            "lib.rs": "mod read;\nmod write;\n",
            "read/mod.rs": "pub mod rows;\npub mod query;\n",
            "read/rows.rs": "pub struct Row;\n",
            "read/query.rs": "use crate::write::batch::Batch;\n",
            "write/mod.rs": "pub mod batch;\npub mod apply;\n",
            "write/batch.rs": "pub struct Batch;\n",
            "write/apply.rs": "use crate::read::rows::Row;\n",
        }
        self.crate("ledger", files)
        self.refused(
            "doors",
            "circle of folders: crates/ledger/src/read, crates/ledger/src/write",
            "crates/ledger/src/read/query.rs takes Batch from crates/ledger/src/write/batch.rs",
            "crates/ledger/src/write/apply.rs takes Row from crates/ledger/src/read/rows.rs",
        )

    def test_dependencies_are_found_in_every_form(self):
        forms = [
            '[dependencies.outflow-wire]\npath = "../wire"\n',
            "[target.'cfg(unix)'.dependencies]\noutflow-wire.workspace = true\n",
            "[build-dependencies]\noutflow-wire.workspace = true\n",
            '[dependencies]\nengine = { package = "outflow-wire", version = "0.1" }\n',
        ]
        self.crate("wire", {"lib.rs": "pub struct Engine;\n"})
        for form in forms:
            self.crate("content", {"lib.rs": "\n"})
            self.write(self.root / "crates/content/Cargo.toml", f'[package]\nname = "outflow-content"\n\n{form}')
            self.refused("doors", "content may not depend on wire")

    def test_a_renamed_dependency_is_the_crate_behind_it(self):
        self.crate("wire", {"lib.rs": "pub struct Engine;\n"})
        self.crate("content", {"lib.rs": "use engine::Engine;\n"})
        manifest = '[package]\nname = "outflow-content"\n[dependencies]\nengine = { package = "outflow-wire" }\n'
        self.write(self.root / "crates/content/Cargo.toml", manifest)
        self.refused("doors", "content may not import wire: crates/content/src/lib.rs:1 takes Engine")

    def test_a_path_through_an_imported_module_is_an_import(self):
        files = {
            "lib.rs": "mod a;\nmod b;\nmod c;\n",
            "a.rs": "use crate::b;\npub struct A;\nfn f() { b::run() }\n",
            "b.rs": "use crate::c;\npub fn run() { c::run() }\n",
            "c.rs": "use crate::a;\npub fn run(_: a::A) {}\n",
        }
        self.crate("zip", files)
        self.refused("doors", "circle of 3 files", "crates/zip/src/a.rs takes b, run from crates/zip/src/b.rs")

    def test_a_re_export_that_its_own_file_uses_is_an_import(self):
        files = {
            "lib.rs": "mod files;\n",
            "files/mod.rs": "mod mount;\nmod cache;\npub(crate) use mount::Mount;\nfn find(_: &Mount) {}\npub struct Found;\n",
            "files/mount.rs": "use super::cache::Cache;\npub struct Mount;\n",
            "files/cache.rs": "use super::Found;\npub struct Cache;\n",
        }
        self.crate("zip", files)
        self.refused("doors", "circle of 3 files", "crates/zip/src/files/mod.rs takes Mount")

    def test_code_behind_a_test_only_item_counts(self):
        text = "struct S {\n    #[cfg(test)]\n    n: u8,\n}\nuse outflow_wire::Engine;\n"
        self.crate("wire", {"lib.rs": "pub struct Engine;\n"})
        self.crate("zip", {"lib.rs": text})
        self.refused("doors", "zip may not import wire: crates/zip/src/lib.rs:5 takes Engine")

    def test_a_file_without_a_mod_is_named(self):
        self.crate("zip", {"lib.rs": "\n", "lost.rs": "use outflow_wire::Engine;\n"})
        self.refused("doors", "crates/zip/src/lost.rs is not read")

    def test_imports_of_tests_comments_and_strings_do_not_count(self):
        text = '// use outflow_wire::Engine;\nconst S: &str = "use outflow_wire::Engine;";\n'
        text += "#[cfg(test)]\nmod tests {\n    use outflow_wire::Engine;\n}\n"
        self.crate("wire", {"lib.rs": "pub struct Engine;\n"})
        self.crate("zip", {"lib.rs": text})
        self.accepted("doors")

    def test_a_folder_of_fifteen_files_is_refused(self):
        self.crate("zip", {"lib.rs": "\n", **{f"f{n}.rs": "\n" for n in range(14)}})
        self.refused("doors", "crates/zip/src has 15 source files")


class Words(Walls):
    def test_a_type_name_stands_for_one_thing(self):
        self.crate("zip", {"lib.rs": "pub struct Entry;\n"})
        self.crate("fs", {"lib.rs": "\n\nenum Entry {}\n"})
        self.refused("words", "Entry is the name of several types: crates/fs/src/lib.rs:3, crates/zip/src/lib.rs:1")

    def test_associated_types_and_types_of_tests_do_not_count(self):
        one = "impl A {\n    type Error = u8;\n}\n#[cfg(test)]\nmod tests {\n    struct Fake;\n}\n"
        self.crate("zip", {"lib.rs": one})
        self.crate("fs", {"lib.rs": one})
        self.accepted("words")

    def test_types_behind_a_test_only_item_count(self):
        self.crate("zip", {"lib.rs": "#[cfg(test)]\nuse a::b;\npub struct Entry;\n"})
        self.crate("fs", {"lib.rs": "pub struct Entry;\n"})
        self.refused("words", "Entry is the name of several types")

    def test_a_long_comment_is_named(self):
        self.crate("zip", {"lib.rs": "/// " + "a" * 97 + "\n"})
        self.refused("words", "crates/zip/src/lib.rs:1: a comment of 101 columns")

    def test_a_sentence_opens_with_its_subject(self):
        self.crate("zip", {"lib.rs": "// It waits. Whoever comes late waits longer.\n"})
        self.refused("words", "crates/zip/src/lib.rs:1: a sentence opens with 'Whoever'")

    def test_a_test_that_sleeps_says_why(self):
        tests = self.root / "crates/zip/tests"
        self.crate("zip", {"lib.rs": "\n"})
        tests.mkdir()
        (tests / "it.rs").write_text("fn a() {\n    std::thread::sleep(TIME);\n}\n")
        self.refused("words", "crates/zip/tests/it.rs:2: a test sleeps")
        (tests / "it.rs").write_text("fn a() {\n    // A slow client.\n    std::thread::sleep(TIME);\n}\n")
        self.accepted("words")


class Texts(Walls):
    def catalogue(self, texts, code, crate="server"):
        self.write(self.root / "crates/texts/languages/en.ftl", texts)
        self.crate(crate, {"lib.rs": code})

    def test_texts_that_are_shown_are_accepted(self):
        code = 'fn f() { html! { p.soft title=(say(text!(a))) { (say(text!( b, n = 1))) " / " a href="top" { (c) } } }; }\n'
        self.catalogue("a = A\nb = B { $n }\nformat_x = x\n", code)
        self.accepted("texts")

    def test_a_text_that_nothing_shows_is_named(self):
        self.catalogue("a = A\nb = B\n", "fn f() { text!(a); }\n// text!(c)\n")
        self.refused("texts", "nothing shows b")

    def test_words_of_a_page_are_named(self):
        self.catalogue("", 'fn f() {\n    html! {\n        p { "Hello there" }\n    }\n}\n')
        self.refused("texts", "crates/server/src/lib.rs:3: the page says 'Hello there'")

    def test_labels_of_a_page_are_named_and_other_attributes_are_not(self):
        code = 'fn f() { html! { input name="field" value={ "raw" (x) } aria-label={ "Select " (x) }; } }\n'
        self.catalogue("", code)
        self.refused("texts", "the page says 'Select '")
        self.catalogue("", code.replace("aria-label", "class"))
        self.accepted("texts")

    def test_words_of_the_command_line_are_named(self):
        for call in (
            'bail!("no file {}", path)',
            'anyhow::anyhow!("no {file}")',
            'x.context("cannot read")',
            'x.with_context(|| format!("cannot read {x}"))',
            'eprintln!("done")',
            'Err("wrong")',
            'let name = "standard input"',
            'let ends = format!("until {time}")',
            'writeln!(text, "{count} files")',
            'x.map_err(|_| "no such file".to_owned())',
            'text.push_str("no files")',
        ):
            self.catalogue("", f"fn f() {{\n    {call};\n}}\n", "cli")
            self.refused("texts", "crates/cli/src/lib.rs:2: ")

    def test_log_lines_reasons_attributes_and_help_are_no_texts(self):
        code = """#[command(next_help_heading = "Two words")]
struct A;
fn store_help(first: &str) -> String {
    format!("{first} and more")
}
fn f() {
    tracing::info!(path, "two words");
    x.expect("it is there");
    // "Two words", {x} words
    let line = format!("outflow: {error}, --no-{name} {value}: /t/{id}/");
}
"""
        self.catalogue("", code, "cli")
        self.accepted("texts")

    def test_texts_of_the_catalogue_and_formats_are_no_words(self):
        code = 'fn f() { bail!(console!(a, x = "word")); println!("{line}: {}", console!(b)); x.context(console!(c)); }\n'
        self.catalogue("a = A { $x }\nb = B\nc = C\n", code, "cli")
        self.accepted("texts")


if __name__ == "__main__":
    unittest.main(verbosity=1)
