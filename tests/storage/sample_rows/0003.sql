-- A binding, and a rejection that happened twice.
SELECT write_audit('[{"kind": "bound", "repo_id": 501, "owner_id": 101,
    "session_id": "00000000-0000-4000-8000-00000000000a"}]');
SELECT count_rejection('{"kind": "rejected", "code": "NOT_A_LAB", "repo_id": 999,
    "delivery_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}') FROM generate_series(1, 2);
