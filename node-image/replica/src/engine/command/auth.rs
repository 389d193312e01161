//! AUTH, and what else asks for the password. There is one user, `default`.

use super::connection::{ConnectionState, Context};
use super::{Error, Reply};

pub(super) const WRONG_PASSWORD: Error = Error::Fixed("WRONGPASS invalid username-password pair or user is disabled.");

/// What a client that has not said the password is told.
pub const NO_AUTH: Error = Error::Fixed("NOAUTH Authentication required.");
/// What it is told when it ends a transaction.
pub const NO_AUTH_EXEC: Error =
    Error::Fixed("EXECABORT Transaction discarded because of: NOAUTH Authentication required.");
pub(super) const NO_AUTH_HELLO: Error = Error::Fixed(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option \
     can be used to authenticate the client and select the RESP protocol version at the same time",
);

/// Without a password, the user `default` may always come in.
pub(super) fn auth(
    state: &mut ConnectionState,
    context: &Context<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    match args {
        [_, _] if context.password.is_none_or(<[u8]>::is_empty) => {
            return Err(Error::Fixed(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        [_, password] => authenticate(state, context.password, b"default", password)?,
        [_, user, password] => authenticate(state, context.password, user, password)?,
        [_] => return Err(Error::Arity("auth")),
        _ => return Err(Error::Syntax),
    }
    reply.ok();
    Ok(())
}

/// Lets a client in that says the right password, as [`Context::password`] has it. One that was in stays in, whatever it says.
pub(super) fn authenticate(
    state: &mut ConnectionState,
    right: Option<&[u8]>,
    user: &[u8],
    password: &[u8],
) -> Result<(), Error> {
    let right = right.is_none_or(|right| right.is_empty() || is_same(password, right));
    if user != b"default" || !right {
        return Err(WRONG_PASSWORD);
    }
    state.must_authenticate = false;
    Ok(())
}

/// Compares in a time that depends on what was given alone.
fn is_same(given: &[u8], right: &[u8]) -> bool {
    let mut difference = u8::from(given.len() != right.len());
    for (given, right) in given.iter().zip(right.iter().cycle()) {
        difference = std::hint::black_box(difference | (given ^ right));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_is_the_same() {
        assert!(is_same(b"secret", b"secret"));
        for given in [&b""[..], b"secre", b"secretsecret", b"Secret", b"secres", b"secrets"] {
            assert!(!is_same(given, b"secret"), "{given:?}");
        }
    }
}
