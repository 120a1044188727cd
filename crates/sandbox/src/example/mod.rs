//! The worked example: a legacy invoicing product, the new system, and seeded data.
