-- Creates behind whose back something else waits, a cancel as a rule: few, and looked for every second.
CREATE INDEX lane_overtaken ON lane (target_id) WHERE operation = 'create' AND tail > head;
