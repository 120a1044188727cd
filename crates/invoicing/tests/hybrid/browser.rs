//! What a person sees, in a headless Chromium: the splash page that goes on by itself, and a hybrid user's page.
//!
//! Pictures are written to `target/screenshots`; with `HANDOVER_SCREENSHOTS=docs` to `docs/images`, which is how those
//! of the documentation are made.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use handover_invoicing::{REMINDERS, Running};
use handover_sandbox::{Browser, Install, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::Town;

/// The scripts' clock for a picture, and for a page that waits for the end of a pause: it runs ahead only while no
/// request is under way, so that so much of it takes some seconds.
const A_MOMENT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_hours(1);
const LARGEST: u64 = 150_000;
const USER: &str = "4711";

async fn browser() -> Result<Browser> {
    Ok(tokio::task::spawn_blocking(|| Browser::find_or_install(Install::Ask)).await??)
}

fn picture(name: &str) -> Result<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = std::env::var_os("HANDOVER_SCREENSHOTS").is_some_and(|to| to == "docs");
    let folder = root.join(if docs { "docs/images" } else { "target/screenshots" });
    std::fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?.join(format!("{name}.png")))
}

/// A picture that is one, and small enough for a repository.
fn is_good(file: &std::path::Path) -> Result<()> {
    let bytes = std::fs::read(file)?;
    ensure!(bytes.starts_with(b"\x89PNG\r\n"), "no PNG");
    ensure!((2_000..LARGEST).contains(&(bytes.len() as u64)), "{} bytes", bytes.len());
    Ok(())
}

/// A user with a few reminders that one can read.
async fn inhabited() -> Result<Town> {
    let town = Town::new().await?;
    let sql = "
        INSERT INTO shop.auth_user (id, password, is_superuser, username, email, is_active, date_joined)
        VALUES (4711, '!', false, 'Harbour Joinery Ltd', 'office@example.org', true, '2019-04-01');
        INSERT INTO shop.invoice (id, owner_id, number, customer_name, status, total, issued_on, created_at)
        VALUES (47110, 4711, 'INV-4711-1', 'Example', 1, 1250, '2026-10-01', '2026-10-01');
        INSERT INTO shop.invoice_reminder
               (id, invoice_id, kind, channel, days_offset, send_at, zone, subject, body, enabled, created_at, modified_at)
        SELECT 471100 + n, 47110, n % 3, c, 7 * n, '2027-01-04 08:00'::timestamp + n * interval '7 days', 'UTC', s,
               'Dear customer', n > 1, '2026-10-01', '2026-10-01'
          FROM (VALUES (1, 1, 'Invoice INV-4711-1 is due soon'), (2, 1, 'Invoice INV-4711-1 is due today'),
                       (3, 2, 'Your payment is overdue'), (4, 3, 'Last reminder before we call')) v (n, c, s);
        INSERT INTO shop.invoice_settings
               (user_id, numbering, tax_mode, currency, logo_scale, attach_pdf, due_days, send_time, zone, footer,
                preferences, modified_at)
        VALUES (4711, 0, 1, 'EUR', 1, true, 14, '08:00', 'UTC', 'Harbour Joinery Ltd, Quay 4', '{}', '2026-10-01')";
    town.world.sql(Server::Legacy, sql).await?;
    town.world.caught_up().await?;
    Ok(town)
}

/// A way to the application that counts how often the splash page asks whether the pause is over.
async fn counted(app: &Running) -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, to) = (listener.local_addr()?, app.address());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((browser, _)) = listener.accept().await {
            tokio::spawn(pass_on(browser, to, Arc::clone(&count)));
        }
    });
    Ok((format!("http://{address}"), asked))
}

async fn pass_on(browser: TcpStream, to: std::net::SocketAddr, asked: Arc<AtomicUsize>) -> Result<()> {
    let (mut from_browser, mut to_browser) = browser.into_split();
    let (mut from_app, mut to_app) = TcpStream::connect(to).await?.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_app, &mut to_browser).await });
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = from_browser.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        // A request of a browser fits into one packet on this way.
        if buffer[..length].starts_with(b"GET /.well-known/handover ") {
            asked.fetch_add(1, Ordering::SeqCst);
        }
        to_app.write_all(&buffer[..length]).await?;
    }
    drop(to_app);
    back.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_splash_page_goes_on_by_itself_to_the_users_page_when_the_pause_ends() -> Result<()> {
    let (town, browser) = (inhabited().await?, browser().await?);
    let app = town.app(|config| config.hold_for = Duration::from_millis(200)).await?;
    let jobs = town.pause(REMINDERS, USER).await?;
    let file = picture("splash")?;
    let url = format!("http://{}/users/{USER}", app.address());
    browser.screenshot(&url, A_MOMENT, (900, 420), &file).await?;
    is_good(&file)?;
    let splash = browser.dom(&url, A_MOMENT).await?;
    ensure!(splash.contains("Your account is being moved") && !splash.contains("data-home"), "{splash}");

    let (address, asked) = counted(&app).await?;
    let url = format!("{address}/users/{USER}");
    let looking = tokio::spawn(async move { browser.dom(&url, LONG).await });
    handover_tests::until("the page asks whether the pause is over", || async {
        Ok(asked.load(Ordering::SeqCst) >= 2)
    })
    .await?;
    town.finish(jobs).await?;
    let page = looking.await??;
    ensure!(page.contains("id=\"reminders\" data-home=\"new\""), "{page}");
    ensure!(page.contains("Your payment is overdue") && !page.contains("is being moved"), "{page}");
    Ok(app.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hybrid_users_page_shows_reminders_of_new_and_settings_of_legacy() -> Result<()> {
    let (town, browser) = (inhabited().await?, browser().await?);
    let app = town.web().await?;
    town.moved(REMINDERS, USER).await?;
    let file = picture("hybrid")?;
    let url = format!("http://{}/users/{USER}", app.address());
    browser.screenshot(&url, A_MOMENT, (900, 600), &file).await?;
    is_good(&file)?;
    let page = browser.dom(&url, A_MOMENT).await?;
    ensure!(page.contains("id=\"reminders\" data-home=\"new\""), "{page}");
    ensure!(page.contains("id=\"settings\" data-home=\"legacy\""), "{page}");
    ensure!(
        page.contains("Harbour Joinery Ltd, Quay 4") && page.contains("Last reminder before we call"),
        "{page}"
    );
    Ok(app.stop().await?)
}
