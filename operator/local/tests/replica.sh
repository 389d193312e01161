#!/bin/sh
# Stands for a replica in tests of this crate: it does nothing, until its standard input closes.
exec cat
