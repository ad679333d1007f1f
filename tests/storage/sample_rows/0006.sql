-- This migration holds functions only; a rejection that is refused writes nothing.
SELECT save_rejection('{"lane": {"lane_id": "repo:501", "token": 99}, "event": {}, "deliveries": []}');
