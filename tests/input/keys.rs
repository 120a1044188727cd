//! Users' keys with every odd character: on the command line, and at Identity's service where keys are texts.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt as _;

use anyhow::{Context, Result, ensure};
use handover_sandbox::Server;
use handover_tests::{Setup, World};

use crate::row::{Row, Section, row};
use crate::services::{BEARER, Services};
use crate::settings::Ended;
use crate::wire::ask;

fn numbers() -> Vec<Row<Vec<u8>>> {
    let of = |text: &str| text.as_bytes().to_vec();
    vec![
        row("nothing", of(""), 2, "empty"),
        row("blanks", of("  "), 2, "empty"),
        row("a text", of("seven"), 2, "not a whole number"),
        row("a number beyond int8", of("9223372036854775808"), 2, "int8"),
        row("100 000 digits", "9".repeat(100_000).into_bytes(), 2, "int8"),
        row("a fraction", of("1.5"), 2, "not a whole number"),
        row("full-width digits", of("４２"), 2, "not a whole number"),
        row("a right-to-left override", of("\u{202e}42"), 2, "not a whole number"),
        row("SQL", of("1'; DROP TABLE identity.users; --"), 2, "not a whole number"),
        row("a line break", of("4\n2"), 2, "not a whole number"),
        row("a terminal's escape", of("\u{1b}[31m42"), 2, "not a whole number"),
        row("not UTF-8", b"4\xff2".to_vec(), 2, "UTF-8"),
    ]
}

pub(crate) fn command_line() -> Section {
    let about = "Through `handover user show`, `handover identity get` and `handover cohort add`, where keys are `int8`. The key is \
                 not thrown back; nobody is added.";
    Section::of("Keys on the command line", about, "exit code", &numbers())
}

/// Texts as keys: such that stand as they are (200), and such that are refused.
fn texts() -> Vec<Row<Vec<u8>>> {
    let of = |text: &str| text.as_bytes().to_vec();
    let long = |length: usize| "k".repeat(length).into_bytes();
    vec![
        row("a quote", of("O'Brien\"s"), 200, ""),
        row("SQL", of("'; DROP TABLE identity.users; --"), 200, ""),
        row("a backslash", of("a\\'b\\"), 200, ""),
        row("an array's braces", of("{NULL,\"a\"}"), 200, ""),
        row("the word NULL", of("NULL"), 200, ""),
        row("a dollar and a number", of("$1"), 200, ""),
        row("a percent sign", of("%00%s%n"), 200, ""),
        row("dots and slashes", of("../../etc/passwd"), 200, ""),
        row("a question mark, a hash, a plus", of("a?b#c+d&e=f"), 200, ""),
        row("blanks around", of(" a b "), 200, ""),
        row("a colon and braces, as keys of Redis have", of("{handover}:ready"), 200, ""),
        row("a glob", of("*[a-z]?"), 200, ""),
        row("an option", of("--yes"), 200, ""),
        row("an `é` of one character", of("\u{e9}"), 200, ""),
        row("an `é` of two characters, which is another user", of("e\u{301}"), 200, ""),
        row("a right-to-left override", of("abc\u{202e}def"), 200, ""),
        row("Hebrew", of("משתמש"), 200, ""),
        row("a zero-width joiner", of("a\u{200d}b"), 200, ""),
        row("beyond the first plane", of("🦀🏳️‍🌈"), 200, ""),
        row("the last character there is", of("\u{10ffff}"), 200, ""),
        row("255 bytes", long(255), 200, ""),
        row("256 bytes", long(256), 422, "bad_user"),
        row("3 000 bytes", long(3_000), 422, "bad_user"),
        row("a NUL", of("a\0b"), 422, "bad_user"),
        row("a line break", of("a\nb"), 422, "bad_user"),
        row("a terminal's escape", of("\u{1b}[31m"), 422, "bad_user"),
        row("a control character of the upper half", of("a\u{85}"), 422, "bad_user"),
        row("what the mirror keeps for itself", of("!ready"), 422, "bad_user"),
        row("not UTF-8", b"a\xff".to_vec(), 400, "bad_path"),
        row("half a surrogate pair", b"\xed\xa0\x80".to_vec(), 400, "bad_path"),
    ]
}

pub(crate) fn service() -> Section {
    let about = "At `GET /v1/users/KEY` of Identity's service, percent-encoded, where keys are `text`. A key that is answered 200 is \
                 then enrolled: from the truth and from the mirror that key, byte for byte, is known as migrated, and of all the \
                 others nobody is.";
    Section::of("Keys that are texts", about, "status", &texts())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_number_is_refused_and_not_thrown_back() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    world.handover(&["cohort", "create", "pilot", "--migration", "invoice-reminders"]).await?.exited(0)?;
    let commands: [&[&str]; 3] =
        [&["user", "show", "--"], &["identity", "get", "--"], &["cohort", "add", "pilot", "--"]];
    for row in numbers() {
        for arguments in commands {
            let mut command = world.command("handover")?;
            command.args(arguments).arg(OsString::from_vec(row.input.clone()));
            let ended = Ended::of(&command.output().await?);
            ended.check(&row).with_context(|| format!("{}, {arguments:?}", row.what))?;
            ensure!(
                ended.err.len() < 2_000 && !ended.err.contains('\u{1b}'),
                "{}: {:.600}",
                row.what,
                ended.err
            );
        }
    }
    let added = world.number(Server::Destination, "SELECT count(*) FROM handover.member").await?;
    ensure!(added == 0, "{added} were added");
    Ok(())
}

fn encoded(key: &[u8]) -> String {
    key.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02X}");
        text
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_key_is_one_user_byte_for_byte_or_refused() -> Result<()> {
    let services = Box::pin(Services::identity_alone("text")).await?;
    let port = services.all[0].port;
    let headers = [("Authorization", BEARER), ("Content-Type", "application/json")];
    let mut enrolled = 0;
    for row in texts() {
        let path = format!("/v1/users/{}", encoded(&row.input));
        let came = ask(port, "GET", &path, &headers, "").await;
        ensure!(came.status == row.code && came.body().contains(row.says), "{}: {came:?}", row.what);
        if row.code != 200 {
            continue;
        }
        let key = std::str::from_utf8(&row.input)?;
        let known = |text: &str| -> Result<(String, i64)> {
            let value: serde_json::Value = serde_json::from_str(text)?;
            let user = value["user"].as_str().context("no user")?.to_owned();
            Ok((user, value["revision"].as_i64().context("no revision")?))
        };
        ensure!(known(came.body())? == (key.to_owned(), 0), "{}: {came:?}", row.what);
        let body = serde_json::json!({ "user": key, "migrations": ["m"] }).to_string();
        let came = ask(port, "POST", "/v1/enrol", &headers, &body).await;
        ensure!(came.status == 200, "{}: {came:?}", row.what);
        enrolled += 1;
        for trust in ["truth", "mirror"] {
            let came = ask(port, "GET", &format!("{path}?trust={trust}"), &headers, "").await;
            let states = came.body().contains(r#""states":{"m":"migrated"}"#);
            ensure!(known(came.body())? == (key.to_owned(), 1) && states, "{}: {came:?}", row.what);
        }
        let users = services.world.number(Server::Identity, "SELECT count(*) FROM identity.users").await?;
        ensure!(users == enrolled, "{}: {users} users, {enrolled} enrolled", row.what);
    }
    let mirrored = services.world.engine.identity.verify_mirror().await?;
    ensure!(mirrored.differences.is_empty(), "{mirrored:?}");
    Ok(())
}
