//! The pages' HTML. Every text that comes from data is escaped; nothing is loaded from elsewhere.

use handover_gate::Side;

use crate::api::word;
use crate::model::{Reminder, Settings};
use crate::shared::Account;

const STYLE: &str = include_str!("page.css");
/// Reminders on a user's page, the newest.
const SHOWN: usize = 8;

/// A user on the first page.
pub(crate) struct Line {
    pub(crate) account: Account,
    pub(crate) paused: bool,
    pub(crate) reminders: Side,
    pub(crate) settings: Side,
}

pub(crate) fn index(lines: &[Line]) -> String {
    let rows: String = lines.iter().map(line).collect();
    let body = format!(
        "<h1>Users</h1><section><table><tr><th>User<th>Name<th>Reminders<th>Settings</tr>{rows}</table></section>
<section><h2>Sign up</h2><p class=\"dim\">Who signs up is born on the new system.</p>
<form method=\"post\" action=\"/users\"><input name=\"name\" placeholder=\"Name\" required maxlength=\"100\">
<button>Sign up</button></form></section>"
    );
    whole("Users", &body)
}

fn line(line: &Line) -> String {
    let user = line.account.user;
    let paused = if line.paused { "<span class=\"home paused\">is being moved</span>" } else { "" };
    format!(
        "<tr><td><a href=\"/users/{user}\">{user}</a><td>{}{paused}<td>{}<td>{}</tr>\n",
        escaped(&line.account.name),
        badge(line.reminders),
        badge(line.settings)
    )
}

pub(crate) fn user(
    account: &Account,
    (reminders, reminders_at): (&[Reminder], Side),
    (settings, settings_at): (Option<&Settings>, Side),
) -> String {
    let user = account.user;
    let rows: String = reminders.iter().rev().take(SHOWN).map(reminder).collect();
    let left = reminders.len().saturating_sub(SHOWN);
    let more = if left > 0 { format!("<p class=\"dim\">and {left} older ones</p>") } else { String::new() };
    let body = format!(
        "<h1>{name}</h1>
<section id=\"reminders\" data-home=\"{reminders_word}\"><h2>Reminders {reminders_badge}</h2>
<table><tr><th>No.<th>Subject<th>By<th>Due<th></tr>{rows}</table>{more}
<form method=\"post\" action=\"/users/{user}/reminders\"><input name=\"subject\" placeholder=\"Subject\" required maxlength=\"200\">
<input name=\"body\" placeholder=\"Text\"><input class=\"short\" name=\"due_in_seconds\" placeholder=\"Due in … s\" inputmode=\"numeric\">
<button>Add</button></form></section>
<section id=\"settings\" data-home=\"{settings_word}\"><h2>Settings {settings_badge}</h2>{settings}</section>",
        name = escaped(&account.name),
        reminders_word = word(reminders_at),
        reminders_badge = badge(reminders_at),
        settings_word = word(settings_at),
        settings_badge = badge(settings_at),
        settings = settings_part(user, settings),
    );
    whole(&account.name, &body)
}

fn reminder(reminder: &Reminder) -> String {
    let due = reminder.due_at.as_deref().map_or("nightly", |at| at.get(..16).unwrap_or(at)).replace('T', " ");
    format!(
        "<tr><td>{}<td>{}<td>{}<td>{}<td class=\"dim\">{}</tr>\n",
        reminder.id,
        escaped(&reminder.subject),
        escaped(&reminder.channel),
        escaped(&due),
        if reminder.enabled { "waits" } else { "off or sent" }
    )
}

fn settings_part(user: i64, settings: Option<&Settings>) -> String {
    let table = settings.map_or_else(
        || "<p class=\"dim\">none yet</p>".to_owned(),
        |settings| {
            format!(
                "<table><tr><td class=\"dim\">Numbers<td>{}<td class=\"dim\">Paper<td>{}<td class=\"dim\">Currency<td>{}\
                 <td class=\"dim\">Due after<td>{} days</tr></table>",
                escaped(&settings.numbering),
                escaped(&settings.paper),
                escaped(&settings.currency),
                settings.due_days
            )
        },
    );
    let footer = settings.map(|settings| escaped(&settings.footer)).unwrap_or_default();
    format!(
        "{table}<form method=\"post\" action=\"/users/{user}/settings\"><input name=\"footer\" value=\"{footer}\" placeholder=\"Footer\">
<button>Save</button></form>"
    )
}

fn badge(side: Side) -> String {
    let text = match side {
        Side::Legacy => "legacy system",
        Side::New => "new system",
    };
    format!("<span class=\"home {}\">{text}</span>", word(side))
}

fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{}</title>\
         <style>{STYLE}</style></head>\n<body><header><a href=\"/\">Invoicing</a></header><main>\n{body}\n</main></body></html>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_data_stays_text() {
        let account = Account { user: 7, name: "<script>\"'&".to_owned() };
        let page = user(&account, (&[], Side::New), (None, Side::Legacy));
        assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;") && !page.contains("<script>"));
        assert!(page.contains("id=\"reminders\" data-home=\"new\""));
        assert!(page.contains("id=\"settings\" data-home=\"legacy\""));
    }
}
