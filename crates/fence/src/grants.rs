//! What roles other than the installing one need: the statements, for whoever may run them.

/// For the role that reads at the replica, whose snapshot must show the fence. `role` is quoted already.
pub fn grants_to_read(role: &str) -> Vec<String> {
    vec![
        format!("GRANT USAGE ON SCHEMA handover_fence TO {role}"),
        format!("GRANT SELECT ON handover_fence.fenced TO {role}"),
    ]
}

/// For the role of the workers: they raise, settle and lift fences, and look whether these stand whole. It needs no
/// right on the application's tables. `role` is quoted already.
pub fn grants_to_pause(role: &str) -> Vec<String> {
    vec![
        format!("GRANT USAGE ON SCHEMA handover_fence TO {role}"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON handover_fence.fenced TO {role}"),
        format!("GRANT SELECT, UPDATE ON handover_fence.clock TO {role}"),
        format!("GRANT USAGE ON SEQUENCE handover_fence.raised TO {role}"),
        format!("GRANT SELECT, DELETE ON handover_fence.crossing TO {role}"),
        format!("GRANT SELECT ON handover_fence.guarded TO {role}"),
        format!("GRANT EXECUTE ON FUNCTION handover_fence.bucket(text) TO {role}"),
    ]
}
