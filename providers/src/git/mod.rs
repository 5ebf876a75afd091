//! Where source code comes from.
