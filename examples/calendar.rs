//! A calendar that two people edit on their own machines, connected or not: each talks with an edge on its own machine, by an ordinary Redis client, and
//! nothing in here knows that there are others.
//!
//! ```text
//! day:2026-12-24        set of the day's events       an event that one edits while the other drops it stays: what was added unseen survives
//! event:anna-1          hash: at, what                one moves it, the other one renames it: both is done
//! event:anna-1:people   set of names                  who is invited here and who is invited there are all invited
//! calendar:anna         counter                       each numbers its own events, so no two events have one name
//! ```

use std::{error::Error, process::ExitCode};

use redis::{Commands as _, Connection};

const USAGE: &str = "usage: calendar HOST:PORT NAME ACTION
  add DAY TIME WHAT     a new event, whose name is printed
  move DAY EVENT TIME   another time
  rename DAY EVENT WHAT another title
  invite DAY EVENT WHO  one more person
  drop DAY EVENT        no event any more
  show DAY              all events of a day";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("calendar: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let [at, name, action @ ..] = arguments else { return Err(USAGE.into()) };
    let mut store = redis::Client::open(format!("redis://{at}"))?.get_connection()?;
    match action {
        ["add", day, time, what] => {
            let number: u64 = store.incr(format!("calendar:{name}"), 1)?;
            let event = format!("{name}-{number}");
            edit(&mut store, day, &event, &[("at", time), ("what", what)])?;
            Ok(event)
        }
        ["move", day, event, time] => edit(&mut store, day, event, &[("at", time)]),
        ["rename", day, event, what] => edit(&mut store, day, event, &[("what", what)]),
        ["invite", day, event, who] => {
            let _: u64 = store.sadd(format!("event:{event}:people"), *who)?;
            edit(&mut store, day, event, &[])
        }
        ["drop", day, event] => {
            // What it was stays: whoever edits it meanwhile, anywhere, brings it back whole.
            let _: u64 = store.srem(format!("day:{day}"), *event)?;
            Ok(format!("{event} dropped"))
        }
        ["show", day] => show(&mut store, day),
        _ => Err(USAGE.into()),
    }
}

/// Whoever edits an event wants it to be there.
fn edit(store: &mut Connection, day: &str, event: &str, fields: &[(&str, &str)]) -> Result<String, Box<dyn Error>> {
    let mut all = redis::pipe();
    all.atomic();
    if !fields.is_empty() {
        all.hset_multiple(format!("event:{event}"), fields).ignore();
    }
    all.sadd(format!("day:{day}"), event).ignore();
    all.exec(store)?;
    Ok(format!("{event} changed"))
}

fn show(store: &mut Connection, day: &str) -> Result<String, Box<dyn Error>> {
    let events: Vec<String> = store.smembers(format!("day:{day}"))?;
    let mut lines = Vec::new();
    for event in events {
        let (at, what): (Option<String>, Option<String>) = store.hmget(format!("event:{event}"), &["at", "what"])?;
        let mut people: Vec<String> = store.smembers(format!("event:{event}:people"))?;
        people.sort();
        let with = if people.is_empty() { String::new() } else { format!(" with {}", people.join(", ")) };
        lines.push(format!("{}  {}{with}  ({event})", at.unwrap_or_default(), what.unwrap_or_default()));
    }
    lines.sort();
    Ok(if lines.is_empty() { format!("nothing on {day}") } else { lines.join("\n") })
}
