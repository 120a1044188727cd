//! Files of users that cannot be used, through `handover cohort add --file -`.

use anyhow::{Context, Result, ensure};
use handover_sandbox::Server;
use handover_tests::{Setup, World};

use crate::row::{Row, Section, row};
use crate::settings::Ended;

fn rows() -> Vec<Row<Vec<u8>>> {
    let of = |text: &str| text.as_bytes().to_vec();
    vec![
        row("a text for a number", of("1\n2\nx\n"), 2, "line 3"),
        row("two users on a line", of("1 2\n"), 2, "line 1"),
        row("commas between users", of("1,2,3\n"), 2, "line 1"),
        row("a number beyond int8", of("1\n9223372036854775808\n"), 2, "line 2"),
        row("a number below int8", of("1\n-9223372036854775809\n"), 2, "line 2"),
        row("a fraction", of("1.0\n"), 2, "line 1"),
        row("a power", of("1e3\n"), 2, "line 1"),
        row("a hexadecimal number", of("0x2a\n"), 2, "line 1"),
        row("Arabic digits", of("٤٢\n"), 2, "line 1"),
        row("full-width digits", of("1\n４２\n"), 2, "line 2"),
        row("a right-to-left override before a number", of("1\n\u{202e}42\n"), 2, "line 2"),
        row("a zero-width blank in a number", of("1\n4\u{200b}2\n"), 2, "line 2"),
        row("SQL", of("1\n1); DROP TABLE handover.member; --\n"), 2, "line 2"),
        row("an option", of("1\n--yes\n"), 2, "line 2"),
        row("a NUL", of("1\n2\u{0}3\n"), 2, "line 2"),
        row("not UTF-8", b"1\n\xff\xfe\n".to_vec(), 2, "line 2"),
        row("UTF-16", b"\xff\xfe1\x002\x00".to_vec(), 2, "line 1"),
        row("a line of 10 MB", [b"1\n".as_slice(), &b"9".repeat(10_000_000)].concat(), 2, "line 2"),
        row("a million bad lines", b"x\n".repeat(1_000_000), 2, "line 1"),
    ]
}

pub(crate) fn section() -> Section {
    let about = "Through `handover cohort add`, of a migration whose keys are `int8`. The first bad lines are named and the rest \
                 counted; nobody of the file is added.";
    Section::of("Files of users", about, "exit code", &rows())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_users_that_cannot_be_used_whole_adds_nobody() -> Result<()> {
    let world = World::new(Setup { users: 1, ..Setup::default() }).await?;
    world.handover(&["cohort", "create", "pilot", "--migration", "invoice-reminders"]).await?.exited(0)?;
    for row in rows() {
        let ran = world.handover_with_input(&["cohort", "add", "pilot", "--file", "-"], &row.input).await?;
        let ended = Ended { code: u16::try_from(ran.code).unwrap_or(u16::MAX), err: ran.err };
        ended.check(&row).with_context(|| row.what)?;
        ensure!(ended.err.len() < 4_000, "{}: the input is thrown back, {} bytes", row.what, ended.err.len());
        let added = world.number(Server::Destination, "SELECT count(*) FROM handover.member").await?;
        ensure!(added == 0, "{}: {added} were added", row.what);
    }
    Ok(())
}
