//! The decisions: desired, observed and recorded state in, a plan out. Pure.
