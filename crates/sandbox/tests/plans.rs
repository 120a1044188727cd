//! The worked example's plans stand up to the plan checker on real servers.

use handover_plan::{Plan, check};
use handover_sandbox::example::{self, Shape};
use handover_sandbox::{Install, Options, Sandbox};
use std::path::PathBuf;
use tokio_postgres::{Client, NoTls};

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect");
    tokio::spawn(connection);
    client
}

fn load(name: &str) -> Plan {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config/plans").join(name);
    Plan::load(&folder).unwrap_or_else(|errors| panic!("{errors}"))
}

#[tokio::test]
async fn plan_check_finds_nothing_to_say_about_the_examples() {
    let options = Options { install: Install::Never, replica: false, ..Options::default() };
    let sandbox = Sandbox::start(options).await.expect("start");
    example::install(&sandbox.legacy_url(), &sandbox.destination_url()).await.expect("install");
    example::generate(&sandbox.legacy_url(), 300, 1, Shape::default()).await.expect("generate");
    let (source, destination) =
        (connect(&sandbox.legacy_url()).await, connect(&sandbox.destination_url()).await);
    for name in ["invoice-reminders", "invoice-settings"] {
        let findings = check(&load(name), &source, &destination).await.expect("check");
        let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(text.is_empty(), "{name}:\n{}", text.join("\n"));
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn a_column_that_nobody_mapped_is_found() {
    let options = Options { install: Install::Never, replica: false, ..Options::default() };
    let sandbox = Sandbox::start(options).await.expect("start");
    example::install(&sandbox.legacy_url(), &sandbox.destination_url()).await.expect("install");
    let (source, destination) =
        (connect(&sandbox.legacy_url()).await, connect(&sandbox.destination_url()).await);
    source.batch_execute("ALTER TABLE shop.invoice_settings ADD COLUMN vat_id text").await.expect("alter");
    let findings = check(&load("invoice-settings"), &source, &destination).await.expect("check");
    assert!(findings.iter().any(|finding| finding.to_string().contains("vat_id")), "{findings:?}");
    sandbox.stop().await;
}
