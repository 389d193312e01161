//! The API: what a user writes about a store, what is answered, and the rules that say which of it makes sense.
