//! HELLO: the protocol's version, and what a client says of itself with it.

use super::connection::{ConnectionState, Context, SERVER_VERSION, check_name};
use super::{Error, Reply, auth, parse};

/// What takes effect when all of a HELLO is right.
struct Wanted<'a> {
    resp3: bool,
    name: Option<&'a [u8]>,
}

/// Where among the words of a HELLO its option SESSION stands, which is none of Redis's and has a value; none: it has none, or is wrong before it.
pub fn session_option(args: &[&[u8]]) -> Option<usize> {
    let mut at = 2;
    while at < args.len() {
        let values = match args[at] {
            option if parse::is(option, "session") => return Some(at).filter(|_| at + 1 < args.len()),
            option if parse::is(option, "auth") => 2,
            option if parse::is(option, "setname") => 1,
            _ => return None,
        };
        at += 1 + values;
    }
    None
}

/// Whether a HELLO is right. The password that it says has taken effect then, also where something behind it is wrong; nothing else has.
///
/// # Errors
/// What its client is told.
pub fn check(state: &mut ConnectionState, password: &[u8], args: &[&[u8]]) -> Result<(), Error> {
    read(state, Some(password), args).map(|_| ())
}

fn read<'a>(state: &mut ConnectionState, password: Option<&[u8]>, args: &[&'a [u8]]) -> Result<Wanted<'a>, Error> {
    let mut wanted = Wanted { resp3: state.resp3, name: None };
    if let Some(version) = args.get(1) {
        let version =
            parse::integer(version).ok_or(Error::Fixed("ERR Protocol version is not an integer or out of range"))?;
        if version != 2 && version != 3 {
            return Err(Error::Fixed("NOPROTO unsupported protocol version"));
        }
        wanted.resp3 = version == 3;
    }
    let mut options = args.get(2..).unwrap_or_default();
    loop {
        match options {
            [] => break,
            [option, user, word, rest @ ..] if parse::is(option, "auth") => {
                auth::authenticate(state, password, user, word)?;
                options = rest;
            }
            [option, value, rest @ ..] if parse::is(option, "setname") => {
                check_name(value, "Client names")?;
                wanted.name = Some(value);
                options = rest;
            }
            [option, ..] => {
                return Err(Error::Text([b"ERR Syntax error in HELLO option '", *option, b"'"].concat()));
            }
        }
    }
    if state.must_authenticate { Err(auth::NO_AUTH_HELLO) } else { Ok(wanted) }
}

pub(super) fn hello(
    state: &mut ConnectionState,
    context: &Context<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let Wanted { resp3, name } = read(state, context.password, args)?;
    if let Some(name) = name {
        state.name = name.to_vec();
    }
    state.resp3 = resp3;
    reply.set_resp3(resp3);
    reply.map(7);
    for (field, value) in [("server", "redis"), ("version", SERVER_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(i64::try_from(state.id).unwrap_or(i64::MAX));
    for (field, value) in [("mode", "standalone"), ("role", context.role)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}
