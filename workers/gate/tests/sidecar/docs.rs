//! The guide's own words: its configuration is the one that is tested, and its look-ups are run as they stand.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::process::Command;

use crate::programs::{library, program};
use crate::stage::{IDENTITY, Stage};

const GUIDE: &str = include_str!("../../../../docs/sidecar.md");
const NGINX: &str = include_str!("../../../../config/nginx/handover-gate.conf");
/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";

/// The guide's last block in that language.
fn block(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let (_, rest) = GUIDE.rsplit_once(&fence).unwrap_or_else(|| panic!("the guide shows no {language}"));
    rest.split_once("```").expect("the block ends").0
}

#[test]
fn the_guide_shows_the_configuration_that_is_tested() {
    assert_eq!(block("nginx"), NGINX);
}

#[test]
fn the_guide_names_every_option_and_no_other() {
    let output = |mode: &str| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_handover-gate")).args([mode, "--help"]).output();
        String::from_utf8(output.expect("it runs").stdout).expect("UTF-8")
    };
    let help = output("proxy");
    let options = |text: &str| -> std::collections::BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words.filter(|word| word.starts_with("--") && word.len() > 3).map(str::to_owned).collect()
    };
    let own = |names: std::collections::BTreeSet<String>| -> Vec<String> {
        names.into_iter().filter(|name| !matches!(name.as_str(), "--help" | "--version" | "--json")).collect()
    };
    let table = GUIDE.split_once("## Settings").expect("a heading").1.split_once("\n## ").expect("another").0;
    let rows: String = table.lines().filter(|line| line.starts_with("| `--")).collect();
    let documented: Vec<String> = own(options(&rows));
    let there = own(options(&help));
    assert_eq!(documented, there);
}

/// A language in which the guide shows the look-up.
struct Language {
    name: &'static str,
    file: &'static str,
    /// Prints one line for each user who is named by an argument.
    driver: &'static str,
}

const PYTHON: Language = Language {
    name: "python",
    file: "gate_lookup.py",
    driver: "import sys, gate_lookup as gate
for user in sys.argv[1:]:
    try:
        print(gate.side(gate.states(user), 'invoice-reminders'))
    except gate.NotNow:
        print('not now')
",
};

const NODE: Language = Language {
    name: "javascript",
    file: "gate_lookup.js",
    driver: "const gate = require('./gate_lookup.js');
(async () => {
  await Promise.race([gate.connected, new Promise((go) => setTimeout(go, 500))]);
  for (const user of process.argv.slice(2)) {
    try { console.log(gate.side(await gate.states(user), 'invoice-reminders')); }
    catch (error) { if (!(error instanceof gate.NotNow)) throw error; console.log('not now'); }
  }
  process.exit(0);
})();
",
};

const RUBY: Language = Language {
    name: "ruby",
    file: "gate_lookup.rb",
    driver: "require './gate_lookup.rb'
ARGV.each do |user|
  puts side(states(user), 'invoice-reminders')
rescue NotNow
  puts 'not now'
end
",
};

const PHP: Language = Language {
    name: "php",
    file: "gate_lookup.php",
    driver: "<?php
require './gate_lookup.php';
foreach (array_slice($argv, 1) as $user) {
    try { echo side(states($user), 'invoice-reminders'), PHP_EOL; }
    catch (NotNow) { echo 'not now', PHP_EOL; }
}
",
};

const GO: Language = Language {
    name: "go",
    file: "src/gatelookup/gatelookup.go",
    driver: r#"package main

import (
    "context"
    "fmt"
    "gatelookup"
    "os"
    "time"

    "github.com/gomodule/redigo/redis"
)

func main() {
    quick := 250 * time.Millisecond
    mirror := &redis.Pool{Dial: func() (redis.Conn, error) {
        return redis.DialURL(os.Getenv("REDIS_URL"), redis.DialConnectTimeout(quick), redis.DialReadTimeout(quick),
            redis.DialWriteTimeout(quick))
    }}
    lookup := &gatelookup.Lookup{Mirror: mirror, Key: os.Getenv("HANDOVER_PREFIX") + ":identity",
        Identity: os.Getenv("IDENTITY_URL"), IdentityToken: os.Getenv("IDENTITY_TOKEN")}
    for _, user := range os.Args[1:] {
        found, err := lookup.States(context.Background(), user)
        if err != nil {
            fmt.Println("not now")
            continue
        }
        fmt.Println(gatelookup.Side(found, "invoice-reminders"))
    }
}
"#,
};

/// A mirror that says something else than the truth, so that an answer tells which of the two was asked.
struct Look {
    stage: Stage,
    redis: redis::aio::MultiplexedConnection,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Look {
    async fn new(language: &Language, program: PathBuf, before: &[&str], file: &str) -> Self {
        let stage = Box::pin(Stage::new()).await;
        for user in ["2", "5", "6"] {
            stage.moved(user).await;
        }
        let folder = stage.folder.path();
        let snippet = folder.join(language.file);
        std::fs::create_dir_all(snippet.parent().expect("a folder")).expect("made");
        std::fs::write(snippet, block(language.name)).expect("written");
        std::fs::write(folder.join(file), language.driver).expect("written");
        let client = redis::Client::open(stage.redis_url()).expect("the sandbox's URL");
        let redis = client.get_multiplexed_async_connection().await.expect("redis answers");
        let arguments = before.iter().copied().chain([file]).map(str::to_owned).collect();
        let mut look = Self { stage, redis, program, arguments };
        for (field, value) in [
            ("1", "r5 invoice-reminders=migrated"),
            ("2", "r3"),
            ("3", "r4 invoice-settings=migrating"),
            ("4", "r4 invoice-reminders=rolling_back invoice-settings=migrated"),
            ("6", "garbled"),
            ("7", "r9 invoice-reminders=migrated x"),
            ("!!x", "r1 invoice-reminders=migrated"),
        ] {
            look.set(field, value).await;
        }
        look
    }

    fn key(&self) -> String {
        format!("look_{}:identity", self.stage.prefix)
    }

    async fn set(&mut self, field: &str, value: &str) {
        let key = self.key();
        redis::cmd("HSET")
            .arg(key)
            .arg(field)
            .arg(value)
            .exec_async(&mut self.redis)
            .await
            .expect("redis answers");
    }

    /// `!ready` until so many milliseconds from now.
    async fn ready(&mut self, millis: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64;
        self.set("!ready", &format!("until {} run 99985f5bb973da65", now + millis)).await;
    }

    /// What the look-up says of these users.
    async fn says(&self, users: &[&str]) -> Vec<String> {
        self.says_with(users, self.stage.redis_url(), &self.stage.identity_url()).await
    }

    async fn says_with(&self, users: &[&str], redis: &str, identity: &str) -> Vec<String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(users).current_dir(self.stage.folder.path()).env_clear();
        command.env("REDIS_URL", redis).env("IDENTITY_URL", identity).env("IDENTITY_TOKEN", IDENTITY);
        command.env("HANDOVER_PREFIX", format!("look_{}", self.stage.prefix));
        // Where Debian keeps what its packages bring; and Go wants a folder to build in.
        command.env("NODE_PATH", "/usr/share/nodejs").env("GO111MODULE", "off").env("PATH", "/usr/bin:/bin");
        let folder = self.stage.folder.path().display().to_string();
        command
            .env("GOPATH", format!("{folder}:/usr/share/gocode"))
            .env("GOCACHE", format!("{folder}/cache"));
        let output = command.kill_on_drop(true).output().await.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
    }
}

/// A look-up, ready to be asked.
async fn look(language: &Language, program: PathBuf, before: &[&str], file: &str) -> Look {
    Box::pin(Look::new(language, program, before, file)).await
}

/// The rule, case by case.
async fn keeps_the_rule(mut look: Look) {
    let everybody = ["1", "2", "3", "4", "5", "6", "7", "!x", "!ready"];
    look.ready(60_000).await;
    let mirrored = ["new", "legacy", "not now", "not now", "new", "new", "legacy", "new", "not now"];
    assert_eq!(
        look.says(&everybody).await,
        mirrored,
        "the mirror, and Identity for what is absent or garbled"
    );
    let (redis, identity) = (look.stage.redis_url().to_owned(), look.stage.identity_url());
    let (no_redis, no_identity) = (format!("redis://{NOWHERE}"), format!("http://{NOWHERE}"));
    let alone = look.says_with(&everybody, &redis, &no_identity).await;
    let told = ["new", "legacy", "not now", "not now", "not now", "not now", "not now", "new", "not now"];
    assert_eq!(alone, told, "absent is never legacy");
    let truth = ["legacy", "new", "legacy"];
    let asked = look.says_with(&["1", "2", "3"], &no_redis, &identity).await;
    assert_eq!(asked, truth, "without Redis, Identity");
    assert_eq!(look.says_with(&["1"], &no_redis, &no_identity).await, ["not now"]);
    for ready in [-1, 300] {
        look.ready(ready).await;
        assert_eq!(
            look.says(&["1", "2", "3"]).await,
            truth,
            "`!ready` for {ready} ms: less than clocks may differ"
        );
    }
    for garbled in ["", "soon", "until soon run 9", "until 99999999999999"] {
        look.set("!ready", garbled).await;
        assert_eq!(look.says(&["1", "2", "3"]).await, truth, "{garbled}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_look_up_in_python_keeps_the_rule() {
    let python = Path::new("/usr/bin/python3").to_owned();
    program("python3", "python3");
    library("redis for Python", "python3-redis", &python, &["-c", "import redis"]);
    keeps_the_rule(look(&PYTHON, python, &[], "driver.py").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_look_up_in_javascript_keeps_the_rule() {
    let node = program("node", "nodejs");
    let there = "require.resolve('/usr/share/nodejs/redis')";
    library("redis for Node", "node-redis", &node, &["-e", there]);
    keeps_the_rule(look(&NODE, node, &[], "driver.js").await).await;
}

/// These are not installed for the sake of the test.
#[tokio::test(flavor = "multi_thread")]
async fn the_look_ups_in_ruby_php_and_go_keep_the_rule_where_their_runtimes_are_there() {
    let works = |program: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(program);
        command.args(arguments).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if works("/usr/bin/ruby", &["-e", "require 'redis'"]) {
        keeps_the_rule(look(&RUBY, "/usr/bin/ruby".into(), &[], "driver.rb").await).await;
    }
    if works("/usr/bin/php", &["-r", "exit(extension_loaded('redis') ? 0 : 1);"]) {
        keeps_the_rule(look(&PHP, "/usr/bin/php".into(), &[], "driver.php").await).await;
    }
    if works("/usr/bin/go", &["version"])
        && Path::new("/usr/share/gocode/src/github.com/gomodule/redigo").is_dir()
    {
        keeps_the_rule(look(&GO, "/usr/bin/go".into(), &["run"], "driver.go").await).await;
    }
    // Whatever is there, the guide shows each of them.
    for language in [RUBY, PHP, GO] {
        assert!(block(language.name).contains("!ready"));
    }
}
