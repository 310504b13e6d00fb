-- A database as a gateway of migration 0008 left it when it was killed: pg_dump --inserts of a run with sealed rows, two
-- shops and one target (wms, paused). Orders sent, sent without an answer, unsent, refused and partly redriven, unpaid,
-- short of stock, cancelled, refunded; dead letters; a notice sent to nobody; a breaker held. Beside it what the senders
-- were promised (`journal`) and what the warehouse had (`wms.books`). Never edited: what was released stays as it was.
CREATE TABLE api_token (
    token_id integer NOT NULL,
    name text NOT NULL,
    sha256 bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone
);
ALTER TABLE api_token ALTER COLUMN token_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME api_token_token_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE attempt (
    order_id bigint NOT NULL,
    target_id smallint NOT NULL,
    seq smallint NOT NULL,
    worker_id bigint NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    took_ms integer NOT NULL,
    result smallint NOT NULL,
    code text,
    detail text
);
CREATE TABLE audit (
    audit_id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    reason text DEFAULT ''::text NOT NULL
);
ALTER TABLE audit ALTER COLUMN audit_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME audit_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE breaker_override (
    target_id smallint NOT NULL,
    operation text NOT NULL,
    forced text NOT NULL,
    reason text NOT NULL,
    author text NOT NULL,
    until_at timestamp with time zone NOT NULL,
    CONSTRAINT breaker_override_forced_check CHECK ((forced = ANY (ARRAY['open'::text, 'closed'::text])))
);
CREATE TABLE component (
    listing_id bigint NOT NULL,
    sku text NOT NULL,
    pieces integer NOT NULL,
    gift boolean DEFAULT false NOT NULL,
    CONSTRAINT component_pieces_check CHECK ((pieces > 0))
);
CREATE TABLE condition (
    kind text NOT NULL,
    connection text NOT NULL,
    subject text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    clear_since timestamp with time zone,
    closed_at timestamp with time zone,
    reopened smallint DEFAULT 0 NOT NULL,
    told bigint DEFAULT 0 NOT NULL
);
CREATE TABLE conflict_handled (
    order_id bigint NOT NULL,
    conflicts text NOT NULL,
    author text NOT NULL,
    reason text NOT NULL,
    handled_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE connection (
    connection_id smallint NOT NULL,
    name text NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    pause_reason text DEFAULT ''::text NOT NULL
);
ALTER TABLE connection ALTER COLUMN connection_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME connection_connection_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE credential (
    connection_id smallint NOT NULL,
    seed bytea NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    token bytea NOT NULL,
    refused text,
    refused_at timestamp with time zone,
    changed_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE dead_letter (
    dead_letter_id bigint NOT NULL,
    event_id text NOT NULL,
    source text NOT NULL,
    type text NOT NULL,
    order_key text NOT NULL,
    number text NOT NULL,
    happened_at timestamp with time zone NOT NULL,
    taken_at timestamp with time zone NOT NULL,
    traceparent text DEFAULT ''::text NOT NULL,
    body bytea NOT NULL,
    leg text NOT NULL,
    partition integer NOT NULL,
    "position" bigint NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    advice text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    closed_by text,
    resolution text,
    body_sha256 bytea
);
ALTER TABLE dead_letter ALTER COLUMN dead_letter_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME dead_letter_dead_letter_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE delivery (
    order_id bigint NOT NULL,
    target_id smallint NOT NULL,
    seq smallint NOT NULL,
    operation text NOT NULL,
    key text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE delivery_edit (
    edit_id bigint NOT NULL,
    order_id bigint NOT NULL,
    target_id smallint NOT NULL,
    seq smallint NOT NULL,
    body bytea NOT NULL,
    author text NOT NULL,
    edited_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE delivery_edit ALTER COLUMN edit_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME delivery_edit_edit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE duty (
    connection_id smallint NOT NULL,
    worker_id bigint,
    claimed_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE event (
    order_id bigint NOT NULL,
    digest bytea NOT NULL,
    event_id text NOT NULL,
    connection_id smallint NOT NULL,
    type text NOT NULL,
    happened_at timestamp with time zone NOT NULL,
    taken_at timestamp with time zone NOT NULL,
    stage text NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE ONLY event ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE inbox (
    inbox_id bigint NOT NULL,
    event_id text NOT NULL,
    source text NOT NULL,
    type text NOT NULL,
    order_key text NOT NULL,
    happened_at timestamp with time zone NOT NULL,
    taken_at timestamp with time zone DEFAULT now() NOT NULL,
    traceparent text DEFAULT ''::text NOT NULL,
    body bytea NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='20000');
ALTER TABLE inbox ALTER COLUMN inbox_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME inbox_inbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE lane (
    order_id bigint NOT NULL,
    target_id smallint NOT NULL,
    operation text NOT NULL,
    head smallint NOT NULL,
    tail smallint NOT NULL,
    worker_id bigint,
    in_doubt boolean DEFAULT false NOT NULL,
    blocked text,
    bursts smallint DEFAULT 0 NOT NULL,
    not_before timestamp with time zone DEFAULT now() NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='20000', autovacuum_vacuum_cost_delay='0');
CREATE TABLE movement (
    stock_id integer NOT NULL,
    order_id bigint,
    on_hand integer NOT NULL,
    locked integer NOT NULL,
    committed integer NOT NULL,
    reason text,
    moved_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE movement_past (
    stock_id integer NOT NULL,
    on_hand bigint NOT NULL,
    locked bigint NOT NULL,
    committed bigint NOT NULL,
    movements bigint NOT NULL,
    until_at timestamp with time zone NOT NULL
);
CREATE VIEW ledger AS
 SELECT stock_id,
    (sum(on_hand))::bigint AS on_hand,
    (sum(locked))::bigint AS locked,
    (sum(committed))::bigint AS committed
   FROM ( SELECT movement.stock_id,
            movement.on_hand,
            movement.locked,
            movement.committed
           FROM movement
        UNION ALL
         SELECT movement_past.stock_id,
            movement_past.on_hand,
            movement_past.locked,
            movement_past.committed
           FROM movement_past) moved
  GROUP BY stock_id;
CREATE TABLE listing (
    listing_id bigint NOT NULL,
    connection_id smallint NOT NULL,
    sku text NOT NULL,
    item_id text DEFAULT ''::text NOT NULL,
    sku_id text DEFAULT ''::text NOT NULL,
    title text DEFAULT ''::text NOT NULL,
    publish boolean DEFAULT false NOT NULL,
    sent integer,
    sent_at timestamp with time zone,
    not_before timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    failures smallint DEFAULT 0 NOT NULL,
    refused text,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    sending integer
);
ALTER TABLE listing ALTER COLUMN listing_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME listing_listing_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE migration (
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE notice (
    notice_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    connection text NOT NULL,
    subject text NOT NULL,
    change text NOT NULL,
    title text NOT NULL,
    facts text NOT NULL,
    advice text NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    message_id bigint,
    apart boolean DEFAULT false NOT NULL,
    refused_by text[] DEFAULT '{}'::text[] NOT NULL,
    why text DEFAULT ''::text NOT NULL,
    settled_at timestamp with time zone,
    CONSTRAINT notice_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'sending'::text, 'sent'::text, 'merged'::text, 'failed'::text])))
);
CREATE TABLE notice_message (
    message_id bigint NOT NULL,
    key text NOT NULL,
    channel text NOT NULL,
    outlet text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    people text[] DEFAULT '{}'::text[] NOT NULL,
    notices integer NOT NULL,
    began_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    result text,
    code text,
    detail text,
    hold_until timestamp with time zone
);
ALTER TABLE notice_message ALTER COLUMN message_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME notice_message_message_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
ALTER TABLE notice ALTER COLUMN notice_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME notice_notice_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE SEQUENCE order_block
    START WITH 1
    INCREMENT BY 1000
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE orders (
    order_id bigint NOT NULL,
    number text NOT NULL,
    connection_id smallint,
    stage text NOT NULL,
    reasons text DEFAULT ''::text NOT NULL,
    conflicts text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    state bytea NOT NULL
)
WITH (fillfactor='90');
ALTER TABLE ONLY orders ALTER COLUMN state SET STORAGE MAIN;
CREATE TABLE pull (
    connection_id smallint NOT NULL,
    begun_at timestamp with time zone NOT NULL,
    read_to timestamp with time zone NOT NULL,
    reread_at timestamp with time zone NOT NULL,
    failing text,
    failing_at timestamp with time zone
);
CREATE TABLE purge_walk (
    only_row boolean DEFAULT true NOT NULL,
    after_id bigint NOT NULL,
    began_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT purge_walk_only_row_check CHECK (only_row)
);
CREATE TABLE redrive (
    redrive_id bigint NOT NULL,
    wanted text NOT NULL,
    reason text NOT NULL,
    author text NOT NULL,
    forced boolean NOT NULL,
    per_s real NOT NULL,
    state text DEFAULT 'running'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    next_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    ended_by text,
    CONSTRAINT redrive_per_s_check CHECK ((per_s > (0)::double precision)),
    CONSTRAINT redrive_state_check CHECK ((state = ANY (ARRAY['running'::text, 'done'::text, 'stopped'::text]))),
    CONSTRAINT redrive_wanted_check CHECK ((wanted <> '{}'::text))
);
CREATE TABLE redrive_item (
    redrive_id bigint NOT NULL,
    n integer NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    order_id bigint,
    target_id smallint,
    seq smallint,
    dead_letter_id bigint,
    blocked text,
    ask boolean DEFAULT true NOT NULL,
    settled_at timestamp with time zone,
    in_doubt boolean,
    bursts smallint,
    not_before timestamp with time zone,
    released_at timestamp with time zone,
    result smallint
)
WITH (fillfactor='70');
ALTER TABLE redrive ALTER COLUMN redrive_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME redrive_redrive_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE restoration (
    restored_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE sealing_key (
    key_id text NOT NULL,
    first_used_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE sighting (
    worker_id bigint NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    code text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE sku_table (
    connection_id smallint NOT NULL,
    version integer NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE stock (
    stock_id integer NOT NULL,
    sku text NOT NULL,
    warehouse text NOT NULL,
    on_hand integer DEFAULT 0 NOT NULL,
    locked integer DEFAULT 0 NOT NULL,
    committed integer DEFAULT 0 NOT NULL,
    CONSTRAINT stock_check CHECK ((((on_hand - locked) - committed) >= 0)),
    CONSTRAINT stock_committed_check CHECK ((committed >= 0)),
    CONSTRAINT stock_locked_check CHECK ((locked >= 0)),
    CONSTRAINT stock_on_hand_check CHECK ((on_hand >= 0))
)
WITH (fillfactor='50');
ALTER TABLE stock ALTER COLUMN stock_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME stock_stock_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE worker (
    worker_id bigint NOT NULL,
    name text NOT NULL,
    lease_s real NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    renewed_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE worker_lost (
    worker_id bigint NOT NULL,
    name text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    lost_at timestamp with time zone DEFAULT now() NOT NULL,
    lanes integer DEFAULT 0 NOT NULL,
    replaced_by bigint
);
ALTER TABLE worker ALTER COLUMN worker_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME worker_worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
INSERT INTO api_token OVERRIDING SYSTEM VALUE VALUES
    (1, 'admin', '\x5f0dc690f2b1e1c458396f2ddc88163bf09583702ffeaf604ea144f0882859ec', '2026-11-26 20:18:52.465316+00', NULL);
INSERT INTO attempt VALUES
    (3, 4, 1, 1, '2026-11-26 20:19:00.475783+00', 14, 1, NULL, 'W-B1-3'),
    (6, 4, 1, 1, '2026-11-26 20:19:00.476002+00', 13, 1, NULL, 'W-B1-5'),
    (8, 4, 1, 1, '2026-11-26 20:19:00.480354+00', 17, 1, NULL, 'W-A1-8'),
    (11, 4, 1, 1, '2026-11-26 20:19:00.481821+00', 18, 1, NULL, 'W-B1-11'),
    (10, 4, 1, 1, '2026-11-26 20:19:00.612482+00', 6, 1, NULL, 'W-A1-10'),
    (14, 4, 1, 1, '2026-11-26 20:19:00.612791+00', 5, 1, NULL, 'W-B1-13'),
    (4, 4, 1, 1, '2026-11-26 20:19:00.612955+00', 5, 1, NULL, 'W-A1-4'),
    (8, 4, 2, 1, '2026-11-26 20:19:00.613156+00', 5, 1, NULL, NULL),
    (11, 4, 2, 1, '2026-11-26 20:19:00.613271+00', 5, 1, NULL, NULL),
    (15, 4, 1, 1, '2026-11-26 20:19:02.034692+00', 11, 4, 'http_4xx', 'HTTP 400'),
    (16, 4, 1, 1, '2026-11-26 20:19:02.034801+00', 11, 4, 'http_4xx', 'HTTP 400'),
    (17, 4, 1, 1, '2026-11-26 20:19:02.034841+00', 10, 4, 'http_4xx', 'HTTP 400'),
    (18, 4, 1, 1, '2026-11-26 20:19:02.045655+00', 21, 4, 'http_4xx', 'HTTP 400'),
    (15, 4, 1, 1, '2026-11-26 20:19:07.743767+00', 14, 7, NULL, NULL),
    (19, 4, 1, 1, '2026-11-26 20:19:08.628745+00', 909, 5, 'timeout', 'no answer within 0.9 s'),
    (20, 4, 1, 1, '2026-11-26 20:19:08.628863+00', 909, 5, 'timeout', 'no answer within 0.9 s'),
    (21, 4, 1, 1, '2026-11-26 20:19:08.679555+00', 943, 5, 'timeout', 'no answer within 0.9 s'),
    (22, 4, 1, 1, '2026-11-26 20:19:08.679669+00', 942, 5, 'timeout', 'no answer within 0.9 s'),
    (15, 4, 1, 1, '2026-11-26 20:19:08.679726+00', 935, 5, 'timeout', 'no answer within 0.9 s');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES
    (1, '2026-11-26 20:18:52.465316+00', 'cli', 'token.replace', 'admin', ''),
    (2, '2026-11-26 20:19:02.179573+00', 'admin', 'breaker.open', '4/create', '盘点'),
    (3, '2026-11-26 20:19:02.227318+00', 'admin', 'redrive.start', 'redrive/1', '仓库恢复，王先生来电 (4)'),
    (4, '2026-11-26 20:19:07.599845+00', 'admin', 'breaker.closed', '4/create', 'go'),
    (5, '2026-11-26 20:19:08.176099+00', 'admin', 'connection.pause', 'wms', '盘点');
INSERT INTO breaker_override VALUES
    (4, 'create', 'closed', 'go', 'admin', '2026-11-26 21:19:07.599672+00');
INSERT INTO condition VALUES
    ('blocked', 'wms', 'rejected:http_4xx', '2026-11-26 20:19:01.898518+00', NULL, NULL, 0, 3),
    ('dead_letter', 'shop-a', 'value', '2026-11-26 20:19:01.795632+00', NULL, NULL, 0, 2);
INSERT INTO connection OVERRIDING SYSTEM VALUE VALUES
    (1, 'robot', false, ''),
    (2, 'shop-a', false, ''),
    (3, 'shop-b', false, ''),
    (4, 'wms', true, '盘点');
INSERT INTO dead_letter OVERRIDING SYSTEM VALUE VALUES
    (1, 'dead-0//a15a319624160e47', 'shop-a', 'ordergate.order.v1', 'dead-0', 'Adead-0', '2026-11-26 20:19:01.776683+00', '2026-11-26 20:19:01.779112+00', '', '\xc14f47318cf53fb6c17eb826a6c31704158b19a16d686bffeabe0b3ca25c923eb00f1c7d260b5e8ed58ed6aee6b5c679776adb9f8a7ec7542496a90b45907d826ce533ca3e52ffc6e8db5403a7081e1bd92609838f2e72ce0edd7118e72b27b2a1e4ba5bd5f00be6', 'inbox', -1, 26, 'value', '$.updated_at: is not an instant', 'send RFC 3339 with an offset, like 2026-05-01T09:30:00+08:00', '2026-11-26 20:19:01.795632+00', NULL, NULL, NULL, '\x1ed4443a7c73eb1c3eb5827b65b10cef3e3c5a24b84e8681881a0d59b6daaa8e'),
    (2, 'dead-1//ce0d1a05d675203c', 'shop-a', 'ordergate.order.v1', 'dead-1', 'Adead-1', '2026-11-26 20:19:01.798935+00', '2026-11-26 20:19:01.799516+00', '', '\xc14f47318cf53fb6f03768b73599b0f9541ae73f5f451cf3c6f19216f7b2658a998240cbafe63ff2910103e00c33e27ffb557242844265d15e59eef24a49bd0f5783f33d2cda6f3a9f1a4aaaaa6b7dc0c7f482f9d19b3976fe0bfa83260d9741c460cbba31461a1c', 'inbox', -1, 27, 'value', '$.updated_at: is not an instant', 'send RFC 3339 with an offset, like 2026-05-01T09:30:00+08:00', '2026-11-26 20:19:01.898518+00', NULL, NULL, NULL, '\x3c6da9e476acceafca5acc0490a4e5bf548633b61268d7d54c06477d7fe9859d');
INSERT INTO delivery VALUES
    (3, 4, 1, 'create', 'create', '2026-11-26 20:19:00.331588+00'),
    (6, 4, 1, 'create', 'create', '2026-11-26 20:19:00.331588+00'),
    (8, 4, 1, 'create', 'create', '2026-11-26 20:19:00.331588+00'),
    (11, 4, 1, 'create', 'create', '2026-11-26 20:19:00.331588+00'),
    (10, 4, 1, 'create', 'create', '2026-11-26 20:19:00.460581+00'),
    (14, 4, 1, 'create', 'create', '2026-11-26 20:19:00.460581+00'),
    (4, 4, 1, 'create', 'create', '2026-11-26 20:19:00.460581+00'),
    (8, 4, 2, 'cancel', 'cancel', '2026-11-26 20:19:00.460581+00'),
    (11, 4, 2, 'cancel', 'cancel', '2026-11-26 20:19:00.460581+00'),
    (15, 4, 1, 'create', 'create', '2026-11-26 20:19:01.898518+00'),
    (16, 4, 1, 'create', 'create', '2026-11-26 20:19:01.898518+00'),
    (17, 4, 1, 'create', 'create', '2026-11-26 20:19:01.898518+00'),
    (18, 4, 1, 'create', 'create', '2026-11-26 20:19:01.898518+00'),
    (19, 4, 1, 'create', 'create', '2026-11-26 20:19:07.646897+00'),
    (20, 4, 1, 'create', 'create', '2026-11-26 20:19:07.646897+00'),
    (21, 4, 1, 'create', 'create', '2026-11-26 20:19:07.695385+00'),
    (22, 4, 1, 'create', 'create', '2026-11-26 20:19:07.695385+00'),
    (23, 4, 1, 'create', 'create', '2026-11-26 20:19:09.210803+00'),
    (24, 4, 1, 'create', 'create', '2026-11-26 20:19:09.239013+00');
INSERT INTO event VALUES
    (10, '\xfc76db8777de0a8fc78e30a3', '1-10/1777630421000/cab4c852525048a5', 2, 'ordergate.order.v1', '2026-05-01 10:13:41+00', '2026-11-26 20:19:00.309727+00', 'received', '\xc14f47318cf53fb60f6956ff45433773b51d7719a08ed663c36401529ce48f8699ab4dba677ef3beb6e30d0e8dc377ae1b3b028b284958db457a9ae4f4a4fc78cfa13827adefcfdd0ad53e17753ef865e147fc6e25c31a4bcb3056e9d2531ec3e01c49c146877f04685ee502750333b3aa964440845d39d84e5999f354726728d2fba767d5eaa95acd406d51db29924393a0744eb24be4ea20b74303fab74c8bb182846b7bae7ca2f5d88f841879a4271611ea86778cf054b5ee8596e6554e70eae3f02bf20638b2b173ab8b806db5f8b845c6761dc09f3193e2bd423196a4af8f6ac227544545cf54eb77c1a50bb7c3eae0f1fa4e176e3e31ff5c1d8584162d3b59ec6aaa7b87c19910d40a365c14f46187622a9e0b830a728889aefd4625def5b8d8fecbfc6734bb1be85490eaa9af1e7c03c7d68748c6211237121ab2ccb63905f200c073782079'),
    (12, '\x43674920dddd8c907ad6b296', '1-12/1777614290000/f3d19bed812473ff', 2, 'ordergate.order.v1', '2026-05-01 05:44:50+00', '2026-11-26 20:19:00.309727+00', 'received', '\xc14f47318cf53fb6229ec5e6a205539a3413f2bca84b4cfd889e4f50a0c9fc0a031ee9043548f790bb34e12c936aed709b1350b3767b4e9a81e127ef548b668176c7143fe18b0cae1a8599919fc51262e8ca225214aae442e90e63bd27f662536e0533803661e62217ce658ce3de005182368ca886aafd1b276109fdba7ad76ab2c36f130b8d38bcf239e5bc8d907fafcdf8524dfebda2226337f6b8a09e926e67d935fb60ec24219f2a5e37efae9b9fbac003c8241267b1a9030813a231338d7e7428e1b6c29d5f386ba277c5e57f9d021a07942aafd2ba8ae82cddf762c0adb3395969043b818ac3d0338ed6010f701e3faf31fb4692099f856ca2c628d3488795d184805f061b34c4a5992e82d2016fabc486f5555c2536c878595c0139068322d6d923681d7ca19eafc7f0893433fef4a985cdc6aa2e9c3b3f'),
    (2, '\xa3544f6c90aefa9d746d72f2', '1-2/1777661144000/e102b65e26aa3c4c', 2, 'ordergate.order.v1', '2026-05-01 18:45:44+00', '2026-11-26 20:19:00.286255+00', 'reviewed', '\xc14f47318cf53fb6790da007fd7db01951b7feebbabdab81031c39fae0b6f577f21d913c849dfe82509b1cc24dd15e4e7f6f87834feda99bb67c2aac6d8f8c3b9400c9d527fed79c68ec9f5d5aa133b32bd0b294b2e3c096f53ac5de08f6961d1ea4ce4abb5eecee2a041c6f2099e85b48365009c4e39bef82d9f921eac16c719ac1a21efab6b68373d01e3c175d7867f28fad953b47083f4219817642f444553ab4218fd376dc137097db8e7400c2200f4436e905e50d4f1d2c10fac3ad2a19557925423e2622a8b14dbf65fdf6a8702418f9a5199b8f4e0744934c21ed91da363c25fb0495e3699e4cceeeec4af91c3f81da7dc66184f34ddfad9ecc7970cd8c23caa12ad85cacd56f6cf131b5b064c0ec5c80633afc921712cc46c44560017e5b6fcaa085fe0248231afe0484f14d8d65cb152e67cec20d62ce68f8146fe31b6ced0e566d04ac27b3c92c69c3ba5fc85b1aae01f234ca5697b24bf455c2f1cb36ce5a199bc166e570b06c7f5219bc69cbb3d92fe96096f2f9402047685870a918d689b7b2b9ba69abf1fc'),
    (4, '\x112fae4eb884d74b9b280da4', '1-4/1777662840000/0dc238a2524bf025', 2, 'ordergate.order.v1', '2026-05-01 19:14:00+00', '2026-11-26 20:19:00.286255+00', 'received', '\xc14f47318cf53fb642f8b908167376b3634d8dbd2b0106df589011183b840ec3a9a3fa63f9d71dcb4a9605192351954a7efcd9bb0fd73a0418d30b0bb525b3fe751aab9dcccc597aab7dd0530e71d692bc35d783bb05472d6d25d2430640a26c5c3f8a0c2f2130feebd9e074815955295fcc861cda157e280f7610e9d205a3e2b48bc78f1368835f8bf2ef3e0871d07e397753d5282f3e7d4c475860319625e4410127fb178bea767f0ce3a109c2af885f895c543b48f33117a9558d16ae30050fe7b775669f2d7ac94aacc2f4da1a882257631527b5e5aa16c3d7751339d7143ee912ad828a97b1bbf61fa1475cc1b73b333e72208feb55602834776e908655257e56544d1a7f19be9b14bc4df3db61b7e4f63ed5f0c499609ee99a974737ec4c5cc2be6963fb92244683049736aec0c340ec329f2f6da56969ccca9585642e215cbb145d1f43a602b955bbe6b49b4c74340bd9de198b116c955ae4f3f251b701c3'),
    (5, '\x739720b5b0c35921044aef45', '1-6/1777627631000/50c469fd1761e9e9', 2, 'ordergate.order.v1', '2026-05-01 09:27:11+00', '2026-11-26 20:19:00.286255+00', 'received', '\xc14f47318cf53fb6c36b40e200736d20ecedb002d0f7613d147a1acf44866a5ee60d632b85a2c79c53a41635de13236213072924913debc6183683308f0aaf2067488cf60d3f620088965db9515a566da6ef6351cdc33b3c17976e9407c6bfedf6ecfda329ae9205d1447cb1665f1c49ec9640d929f5af872590678f4a188a01097f57593aaeaee193b16e4962bf36d14ec7129dea2f468550a045a7904ef7a8797ac1a9a057fdf8bd8c95eb329daf501515f3999d240d4137d50e39b516c74820bff1315b56ee66601054eead89176cae4d43eccfa546c0aac31b05c20053427a089572d7dac59fb67755e429d31472ae4973119ee2367642ade643afde4d3adf8db9cefaee929c0121b80bc15e7cd73c9799dbe078d0caa7337cf77208971dbe488b4772a35fcf02853beb756a54f0240c00f077e04390cf8811a5e7ce892f358ec37d070a0684914efe47c2b8900bebb522b74939298cf0'),
    (8, '\x720de02b701b3d43dfb55645', '1-8/1777627294000/43c5391477835011', 2, 'ordergate.order.v1', '2026-05-01 09:21:34+00', '2026-11-26 20:19:00.309727+00', 'allocated', '\xc14f47318cf53fb6a0d33646ae0aa627ee6a7466bf54b4aa4733bdac19392f0fa488c3765bcacffd5d17e29284d5695dba28d10f7f9a5d26c25c5266c6b6c19dd3a8808dd7ddd774dde0c4c391c22a21819ca7020d461c148a4d655b96a8d9ac9ace9d4d8f45fee9dbfc91ceb35b8f26ea9111c10557124caf5aa5366512dc03cebdc4328fdd4dadbaf1f2b8a8e132b6a6cb16a12fff4c39b67050f28a4de46b7c2da4ae7db123c96055342d12a563a179dcfee63b4d78bfc2a01738d664c7382c3c3e3efad7081a21594ec27cb956aeb5cf9a47b07e4589eb73c670ef11e63b7bbc036182d9e1c2ab2c934df485348ace7a3e21ac0d689236d5847cbb9817780b11a2948cdaa224b5255943eaf2d2c606efd8bae641f7abca07e86d4150ae669568825d216e50a4c2f9598e6ae26c4276a177c5db612a8dee8fda90a985eed53f27a53c30353ba7907204e319810a36d072f9aaa38039ab139df0dcc72de7a75d2b735a770312ba5bbd1eb7b8584f153494'),
    (1, '\x5b75fd5843df4ea843e4ec26', '1-1/1777614811000/ade68414cb893bec', 3, 'ordergate.order.v1', '2026-05-01 05:53:31+00', '2026-11-26 20:19:00.286255+00', 'received', '\xc14f47318cf53fb6778c628556c742a0cd189ff36013f30e6dc5c0e69c5f5d22d1984c511d114339acab29adfae94f948682d41516a006703ecc553d445a59bcde1bd2a7f2e7bb2eef85b7d8eb23e277cde56e87467885544778cd222c54b10d926c510b3bf495d851a10732b740153976a7af56a4bb9890b60c51b9ddb1dba170970458da7594aff178fd0805c122fa99abf3db9bf5756c315d40f01c6afca72d7c961bd949673905c832489180ee005de6092254f9354b2d54d0b34e523d4e0c218ec6a8b6c37404454d0d8ab2924529e4fdb516eedf049c15e99f8163b174a3065880be205aa16a26539a8d8e8acfaabaed7195ddd36e6bdb989684bad511a202276ee0ecbfcc1c1fc5cab299cfd8081093bb5c5b630df0e178b616d8f8db50da8c186f4683248bff06b53f01241f1a0833b29eb2a9'),
    (11, '\x176f364039f16c552a89d41e', '1-11/1777679876000/df09cb7d894b2ca7', 3, 'ordergate.order.v1', '2026-05-01 23:57:56+00', '2026-11-26 20:19:00.309727+00', 'allocated', '\xc14f47318cf53fb6a22ce5f44530bf961387d97ecc546db65058367c63f27c5db97b5a17bfa517decb63a5652874edc152d1cc442e543c5a58e74e42336f6e4432a2358b1b0d275c44aeb3296a5bc7e8ee78e5b3f3682ac8989645f4dab5515ebb7e459f243a8aed6a9a1a37ddd752f530459add30a3888be4ce82e4ad91492319255b0a6bc4157e115ee85a84b5d19142d435dd8aa94c1775b56dfe6c7850dd6140d821251208686a0ff142a4ed688481bff5525d9c11c5548a6c09e58075b942159db9505fa04316fd77a60f0929c7763d3ea9558d9900e80804409366f30fae5cdb2585ec6890882e03c42e696efd4b1b2ab1f0b735a4254b26a9711a19366ff213eb622b6e210d074c9746b220ad7de49ed979e90d718ec09e26954ac7b951e7a17aa8840a2db75e1bd0e0f91bdd4ec036a57352c35860f14ce91a2711f9848361691413fd193aa11f45f187b2a60dcd8efeb21e5b90a03bdac14978787cfd5f9b9f8f97c1b5ba3c3c607f056c15d6490340154eb1978039feeda7e8472cebf925a2c0e8ce777d900cef872c8851'),
    (3, '\x9542ddd55f7b21d37549b58c', '1-3/1777601006000/339442ec117a7943', 3, 'ordergate.order.v1', '2026-05-01 02:03:26+00', '2026-11-26 20:19:00.286255+00', 'allocated', '\xc14f47318cf53fb6d1ef484b44806fb3b05863e8670aeec13950099b383daf64541cd12a3458f6fe9c4b851a4f7c2cf44150d023b4bd35b33116f0b8a8f46aef9e8681757b35b197d615f1b38a0a8eb0a8aa77af0f79bbe5213f214a8155bbcdf35e2c34f6bbca4065fbb3274abc828487c2cfc7e159343ddbe4d0f7f98ca11a8c71aefa615c689ebb0c993a9a2e0466777ed5be8010d353d82448c901e6a78b610b2be359099a44808f8256d4a7cef682fa79f3ee4e19c0367dca00522c2b209cb5ef53e64c7c4af35aa480ab8393edcc6ceb4c1237abbf0c342ba91e1c8065a604251c1994316f874280b67fed86f447286d408a977f94ed55848abb3d5272065fcff38a4ba19302528ea85d6ffad04cec3a5863fc8104a87da727649d1b21a597ab9211d096258129310a6bbecc6dea4c808105c062fa439796c9628190db60885cb9ceb85682c87c3ae3b0fb4919a8410ae9fa9b619a54c545819dc04906408cb18c5e3efe8fafb0'),
    (3, '\x38df4765aafede4af43da8d3', '1-3/1777601126000/02f34648b350e43a', 3, 'ordergate.order.v1', '2026-05-01 02:05:26+00', '2026-11-26 20:19:00.309727+00', 'allocated', '\xc14f47318cf53fb6a893f449aea4e47cde7d2477ec5c7dd2df7e46892627ae0b1ff5ecd98320e4c6b5fedf79a18ba2fc9c870c18cc7216cbd46ba402306aa8ace95814abdfec0019e6cf82eb634a751b07c0a667215c9e298b6f63eca78b96d41b5289a878ccd62c5df5d4cfc5ad7fbbb1333e2fde508f09d40558600f59821760d0eb03fb75b23471bfcb1af6bd170debc739126193e506c8c59b1965ae4eca3ec0d0e2fb10d2'),
    (6, '\x4ec3bd7046286f59068e62c5', '1-5/1777611346000/1dde2b852e4ee01f', 3, 'ordergate.order.v1', '2026-05-01 04:55:46+00', '2026-11-26 20:19:00.286255+00', 'allocated', '\xc14f47318cf53fb67f846a6bc17a17e5d27356b7cfeccc3155f655e421da8a707d5667199340dbc5c4963c01e350ab269323c47b52e8e84a1a2ec139b3f6e6ce62ca1c5fb32276be64f76c9c499394ebd63a31b5588477a51e277e80709210ebd9a578a661cec18eec8ae07d5ea3a4f4c57e06cae688748fc1164013205e08f082565a69b60418d7d02d04ce4b6200ea9aad6ef28a9cda328d153e41448d938d705f9dd86782211bb93682fe4496b45c0006f192bd947a003852b0ebaadb2cbc666a31847e7cfd7d01a4447345a4f3a52e39c2905ea50bc9fe6997039f7f377bcd0a42be27cbfb8cba57043e58212bd90654ae6fe205b3410d9198aa88910328b55139b30a90bd98caf54b796b3d080d8684a946eef4fd7b1eef1f6dc6ad3f403f51392bb452eddabbfd17fd2a438736d609b43ded3c8394a9d469b889b1df90bda770dc57dc3f48d7d004b7abf88607af9c7e331612ff06a25a056b9a745f18c9c56195a65b4e5b16190a8299213989b77228a82e1bcec44a3269a536e7ba7a7aa70360328857ab2929b75fc06e5a9846c3c3e4'),
    (7, '\x49347cc8be1a574cf7cdcfa8', '1-7/1777660258000/630c90cfb04df970', 3, 'ordergate.order.v1', '2026-05-01 18:30:58+00', '2026-11-26 20:19:00.309727+00', 'received', '\xc14f47318cf53fb6fa5704b8acee6a95211e0cfbb322f9a2daa7ad776e576e2db1822e8b87025a11bc6964f205f964e81a5189e4a10e4b1c21c2224a75361be4182218d9d028db71b6d0bae2e6c1c988a8f586001489c2a332a65c508f8e5d42e37bc5c82d1149cbe305fd7cd4dfb291e65610fcac435b0373c1c1c4b8031a5f7d1e9938c4fc79f7d14fcc17c773dc85c8f9a50246977fc4f93456c7b3ea420b7104a8c9223d514b8ae53a203980c297f78cde208a21f104a96f8533902a726349d5adcf89dc124c3200859a1ffdc598cfd663234e43413a989441cde06e0d1bed39a5a7b65e8f1ffab2a50b2e1bdfc0b7d1a816bd910c0bcd6a25c315735201e51530778e2eb74e88900912431a3cd223f876697c1662907ab6426aa291c38af7bfb442a4c724670082c5d6cce7490ae80ee7dc1143ef41612bfac70a46621b2bc91ba41e2c6447'),
    (9, '\x5b2546d817ecc25a37d7b30d', '1-9/1777619150000/789ac8b44dfb240d', 3, 'ordergate.order.v1', '2026-05-01 07:05:50+00', '2026-11-26 20:19:00.309727+00', 'received', '\xc14f47318cf53fb62c5ad226c324f1cabfe51bc7b8d79133b53fc9701cb8891eacf214cb89878cb64195d5c9dc3ccbdc92156e9b89cd7a9cbd98585b1f6944f5173c66187d157a9fee53e0be30f3d1aed68a8a1ea8c2a06d4606975348762e35daf9223a3071ec9142cded9d42418b5aa9d66684c7a4db25c9df6fae7f6edfca8e838e3b81bf57d1d092549dd82e57cc1b41f3a1fec372630cf737b64e63116ad62cab82d4593aecabba93d62042facab3b8b0c6fd9c88d8576ba7312857f3d01a7526d85dc4a0c3fdcaf8631892c99819c930dfe4513879979a615d03603083d6f96dd2c7bdd5940c23b5ca1efbd5c2604204690853307e92879361198d3044e61e26f0ca7b7778dcbff4e5f3df8bf351c01cae31fe0931b85c0e5dc215ff0b5323736393f509b1437da8aae078ca00edcf5404efb8641b98739e49c9c90360103051605baee1'),
    (13, '\x3e51c7f004b8cdf1509a0ab1', '1-14/1777625122000/c05a2d976e8b90fa', 2, 'ordergate.order.v1', '2026-05-01 08:45:22+00', '2026-11-26 20:19:00.364288+00', 'received', '\xc14f47318cf53fb66e0f9b540b3b9a69f19251049605782d3e7ee70cd46ff314eadf0fe40f5f9a7a3dfbf11e53d24a67e9f81976e1b0e870e32573468b70c168396786d931df8d9462c82596e0b95b2d88ec340b8a3b49b11e62d95b16acef1c88f9d9efb5d9b77b1723589aa3ff4c4098c402a70932ca450499d6843cac56f0a29d41e7383d8667a2f98f4b218f7e10ac61f23383c46155c18c96008fae77955677c2eda52b5fef6b1a2e7a7d151766ba666548eb01366790c657b3f151c71d520c562f358503b9222fda08614682311e738a87502b103e985e38c01764d9469da940c99416e6c7ae9e92cedecf7273b4b3f4783f51b546a44ca75558ea97ee6850b376414d49cca4fe657694cdec9f32c91d7af4890bcbb64be780ea2281ddb85ff25d1747e4d58fdb86db9e0d4a28edca7ee561d3e3eb'),
    (14, '\x5c8118ffc94291ff6be1a3d0', '1-13/1777610179000/778444b831310a27', 3, 'ordergate.order.v1', '2026-05-01 04:36:19+00', '2026-11-26 20:19:00.364288+00', 'allocated', '\xc14f47318cf53fb6986aea74ff7ed3bd7f39b4b8b1ef6425923be4cc6aac13f622befbc89b8a0f9519a1bf0ed1d9bc2fbce123decf82abe861ac14f68591a7e7c8290d5be1fff328aa33db4c42a181d30299dab363e5584090d7ce657ea97e1a3f92f9ea2f8aaec32bfbf4a4899507d38b67725af47d1bec1613748832a46daeb3109d23d03cf97ec879ab45d43fa6be9547e64bae0455d933cafc5ea981865e12aec0f732c3f04afaa178adc620c1cdd8f717189978f8d83342e13de7c3e87822efbf80052e76b21d72f5948df2420570dfb76e2582d9fa455c00dc73d29416c43234a4351aedeba69841991d2a827fc51fc1e0979b4d72d813ca50909735a6357cff03eeae3aaedb1b33ad2357c23a3fef6f68278efdd6b9b6fa8c1317089608c63df77140b279f8ecf7025912662218ee0586e59d277511ccce447165bc809e6c807ea2699dd17fd598c64e4b5b0178d61c27c625b743769c19db941d92bc02c14a140ceb3750555ed6623537526d721b5ffa643d5858e088331b107cec9a617f9c23ae91db2751e893b9fa19c061196c51'),
    (2, '\xeab5285a1a45a2f39ad5ef72', '1-2/1777661684000/14a7f8a9358a4b3e', 2, 'ordergate.order.v1', '2026-05-01 18:54:44+00', '2026-11-26 20:19:00.364288+00', 'cancelled', '\xc14f47318cf53fb6f5de11d0f1387d1432212077a483870ac79ce1ca4c926914872163afb1a89d30c2a0c5fdeabb9af1af4c96940d09a947d16d24e791df9bbd3a8d28de753994752016863e64503ee5f7045648b56d902e7cb090b7152b46f4ed380817fc4970aaa3f8d4eca997f128ee35891ed285f1bd806fabbef0'),
    (4, '\x6416ac03c36053d382f0b20c', '1-4/1777662960000/a8b434fb6e5503ae', 2, 'ordergate.order.v1', '2026-05-01 19:16:00+00', '2026-11-26 20:19:00.364288+00', 'allocated', '\xc14f47318cf53fb68dbf7f4b2214e9e60edb1a1775658a1dfcdac57860c676956a0bf1e561d8da4118bdac28d4b5de5222f45c3db8c2b9c2f2aad4c734fed7a5c60613d338b0b65a86425bff56e6d5091e7fc3b96b593d71882df8bb2fb811a8c9d730c21e0795d3028be9d28bcca458be92e1660da815f906d2766305e5a1a837d67adc45de5c9bdeebc3babd79eda491b3cff7117fda8194f6f00f501a4864d0d1d271511b40'),
    (8, '\x426da3dac13d9a3ea2293118', '1-8/1777627834000/9b793f5c96b05368', 2, 'ordergate.order.v1', '2026-05-01 09:30:34+00', '2026-11-26 20:19:00.430047+00', 'cancelled', '\xc14f47318cf53fb66506c00ac64a330139fe6d051ce0a480304f321625c94274ebf757e1f0ff96a9458149945928513ad6d72ed88868c95190f0a865de5509e2de26b397e6279dcdd0db2917a86f3b8379d93f452be7adbd913f0b4f2a433800ed25f2b34b840c7daaf5dc77fba6c9caadc093a7c4b73caf9dfcdefc7a'),
    (9, '\x902dbdaa29245c1f1ce11f9c', '1-9/1777619270000/c62a2e08c91cb3a1', 3, 'ordergate.order.v1', '2026-05-01 07:07:50+00', '2026-11-26 20:19:00.330281+00', 'reviewed', '\xc14f47318cf53fb678cf4219bf4cbedbcf72795f0249a86896c707db9da6bab40e27491a72dd05bd37ba843708272a5026f7248e867ca574a8a46f37997d39c5e76b0b0b1c9845ce5e17b619448d106c5d6bbd4be97d387aeed384aded1624c80d2aeadba4430480233346134f988fb108b50598ebd2133c9f97d1a66774ffb5bc9b90267a2ead855ce472ef93fd6b4afb12e4e9b5964b8cee9b010e5269f14978591e1556f976'),
    (10, '\xb3a3f065132c5ae9db5dcfcf', '1-10/1777630541000/b00dd81bc91ead63', 2, 'ordergate.order.v1', '2026-05-01 10:15:41+00', '2026-11-26 20:19:00.364288+00', 'allocated', '\xc14f47318cf53fb6bbe3323c4c487564c76db219eca533c76ec00260fcc54aa8146e2b8f088a754b5ac6cb25f0e5e9e1137915862be64b34100d6a7e2e75c3686c94286f92fee0b14d93e56b8cbfd4d067a0834c3ca4f6ca1ee170e63f286fb989e496d4255b81811dc070540bc22c8ff13d5d8484d5894efc8c8fffedb1b8fe8cac548220c703cc41a5136262443dc94f56df01face98cad0eb801f543e5ae59170af1d648ba22d'),
    (11, '\x81df8f2b1ef686df4cc58829', '1-11/1777680416000/abccb7da5d5867e7', 3, 'ordergate.order.v1', '2026-05-02 00:06:56+00', '2026-11-26 20:19:00.436463+00', 'cancelled', '\xc14f47318cf53fb6174ce468d68899e7279e4c10f5550b955a2cf109331e8d309c09ca3a491532cba98f690dff64534e483aba921e68f1cad51465d6e1c67bff7ca1a02d134726977113d5c6a82cc283bdeeb03a0daef441eadb0c930af55f25cb90ec4b8c2e1f0ef59cbedf6de67b6216ebab945e150a1e10b1a5543b88'),
    (16, '\xe424ac8a2ade31d80078cbc4', '2-2/1777663924000/721d40e3a6857f9f', 2, 'ordergate.order.v1', '2026-05-01 19:32:04+00', '2026-11-26 20:19:01.87633+00', 'allocated', '\xc14f47318cf53fb6af452bdd87de00fb48c76ff2bbe86c68550692779f4ccc573ccc32c7b51c86e810b59b062c427c863c8a748021b0dbf96fa97b7df70faaf51a0c7e5ff8c2dc30e8b389f6ad34656b0a1c32820bae71d8462d47e60388f417698dcb22b2bf6be0a4c30735ad65213d482826972a8cbd2c12521cd07c6dd28442bb70a3fad1a618bf3e277904142593b0d080e901ad045a7a0e4e971b77e6b64031c7b308d27c9f664c33816b0bb38c5d8193bfdb4b88a1aca2a92a4fc12cd9cf865f3d0fdfab3ffa90467e41cce9a1e4f43e61f2ffb1a25121063c272385b1f7584b4557fae13d75d61b710173df8fb109eea19f35b9a488014f9c56e932bc5c85ec223fb91fc889e23919ea6e5f9e1af04b69212bbc1dd16617b61a4b3739b026dd74f8fc5de75798499de6132a08245fefc1aa44f4757a3609fe5f2cdfe95a0867f8c08ac1fe8f6833a4e05cab67bea4ca6e53f560339b8d73504eff76186203a7a30561725a4971a993d4d390616e01ba7b1656d7038281c5d2c3fc1658562e331479753a39f580652c7bd6e06e52'),
    (18, '\x97304bdf30ccb4fed943ba17', '2-4/1777657677000/5da6f0b84c7bfd99', 2, 'ordergate.order.v1', '2026-05-01 17:47:57+00', '2026-11-26 20:19:01.87633+00', 'allocated', '\xc14f47318cf53fb6bfe1ec757d2bab1eb61b8fef95d745a44fc830b6c8564c805165eaedeec1cb92102ef262991665e5a69be9592948d3b0cb6f6bae1a5a1ec82c4b574cd26695425e9796498cd9d88694139809274f3733d600e3d9571a819286c2fa8aeaaedb3f04cf7ff8ea46356d9f1fc6d7b16cd86c3c305fa163288f296876a4e4570e0852a89c416d3d0d8de4990f5179ddacce7241fca34d5820d224a4b358849b0fd704d5b6ee53c7f972ac7eccd92c5dd22d2ca3010079af69b74895f36e9c963eac6a6ebb778172ef5c5e0e43183b7ed1bb8553e1b5852572a0d29c84b68e1b5275cc0d4d078ebc9606392ac457a5e5df3a4e2f032c0997e7d4d95d9690c7022058adb2d64b6d18c18f6dd0fee49f6be4ce34dc922513e07a3d1f693ebbf247b096f586ea5950e0e816063842721078898586aeb3fb674e0d3e9ba83c4c74a866e0b1adbce36c1e9053c16ede09ba54551338b30efd16e40456e2f7de64c63507e7a37f25651dc731cc3f854c'),
    (15, '\x0d28b233c28477607f987540', '2-1/1777604612000/265dec141d368cf3', 3, 'ordergate.order.v1', '2026-05-01 03:03:32+00', '2026-11-26 20:19:01.87633+00', 'allocated', '\xc14f47318cf53fb697fbfe40fe17d5392f6e898d1b226b2792d2675c0f39fdb31c423e94b81a4c4640b5b8df2e75d5a76a3b429db02cee0bc0561dc632f154573a81175e6c5c62bb74e4c78a6ae2e6ec7057dcb8084a71cfe8f23f25b431e47bcc06244c0b411e5851337ef4fdfbfb0f347a642e5fad4a5712d6ebce581007bdea6075b2c46992de45c0b34d9426bcd3c0cc2e2ecd26b89ad602d7ecd9c092aaf10ebbfcce1c5568a47ef9d0c0ce873fdf5b34932c999907962e157b766a7ab397330dd47de0c28727fe453a5329be73a1a17ad7e7baca520234aaab42d7b1d09dcdafd394434149ffd6987a15f3217551302b4def263f878a849b8bc3e2b6e7fbcd777bc5e2bfd537c0aed8af3fad41d5ad853798f4269a6adad5cd29f344efe50f9f492431d760050e890a7f224140666a278dee4f7b9615696b1d48189df8123fdd1e2572f91bdcba90f36b0b55578cf278a1e2419dd18c472550e2ed786a3613e40952b8ab589403f495792d53d615d8538a6dad94cbba56a4df5deaa430'),
    (17, '\x7063a85929bfd1e3d11e507a', '2-3/1777664536000/fdf96ec0a2a58204', 3, 'ordergate.order.v1', '2026-05-01 19:42:16+00', '2026-11-26 20:19:01.87633+00', 'allocated', '\xc14f47318cf53fb62a676464dd9fc258468b45648799b19708524ca309a8bd1364a291cc270283502d0e889a1bd8fe6812f1a53b647f59d20efba88b0aa17586c3697de7ad6af9e571fcbef272fb21339a948b48596776820f375d69ff636ec1f213694826df8baf69f69bb92a1a6edb1496948d08007b0fecf33e42d0de7958fcd25e3cda05fdf707375c47eccf37615a9414bfbfdeb9b72e05a5a39fd6523bcd91bace36980df01a4aaf4d88ef9f3fe3f040e58ebd6288d2849a73c84614c7eb614011a6e76d0c746a61260bc4b5dfbda856e530bc9298240a33d8ae4125dc783fb07c9a69b7d8bc603ef318b37fced2c8a2c0fb7e68c4f9722f3ab8f18944be414be8f584d3eab364a795a837f9ec5984832b3c38c40fa3ce223c2ed88c1907ec75e34387f452d4b1c80e8557900ac7752dd33f012469bd01867ad408b06aba936d7976922093fc5f813e25195e4e1082c3c953d74a6c6f39085eeef2560308cba0897ef463334f77228b0e0a257c1f9a8bf8060e'),
    (20, '\x956b6026b54144e447ddd3d4', '3-2/1777658838000/a6cc365dba1f10f2', 2, 'ordergate.order.v1', '2026-05-01 18:07:18+00', '2026-11-26 20:19:07.634199+00', 'allocated', '\xc14f47318cf53fb61d3af7a14a2bec3de8e1dcce0fa6df25c419990cb928566cf8d6b4466734141b24ecb41cbf1d169f9dfd551ce3df159799ef666bda5b7a74a0ab556a4c6f974cc9c9589380aab5134f12059238bc6d0fb04ffa130142deb4540a6d6dcde62a42a7b2ff519db24cfa8ccafa9585beee015f3c9f81a85dc08ce4ac777648751699e65789dd911193be3ebde0b52fa02082e533543d32b1ef17c70bd6f53db37affc525cf16a9ab5ad3da7c01a289e76f9f1f7d2120abfb9a3bdec105ccf7738ffe3d53947f8504cc3f613c44cf78dd8460f84cd3d5c591d2f1692d4fa29377716755888693f7a7d623e14e536c99cd223a944ac4d7aab53616e88145aa22dc071ddf581a90ef911b4e458952e9d705274cabdbdfc76c0130727521323d512b4dd2adf970b71cbe961e16bf298b60434a3a8fef46bfcf3bf071971e00bc9a7d18e44bda84a48fa6bdfac909af1609f48bac83af7927629b1e56f39dc2dcf3843467bf9bf5d508953fbd086d58aff51cc171550591d62b227e7a2a74545cc34efed39ab34c1d09f0'),
    (19, '\xcea40f75da5f920bbaa56285', '3-1/1777628390000/315907fb8847be73', 3, 'ordergate.order.v1', '2026-05-01 09:39:50+00', '2026-11-26 20:19:07.634199+00', 'allocated', '\xc14f47318cf53fb61309b30eb7585409cc5576437bd4e7ad05abe99c9361b0741bd222794a7c8afdd373e325c78087473c1c4d8af9bf4f14ffe3328c730eecd95c4ec43db648d8b20be8dcdfe098dc8baae2a2faf533fd6ba4fc7bd13b0273b9ae26cfd790fee55d29c95cf54c558a956c834e96d9e9cb7044670f895849f5215825ac207cfc44aac7eccc42c35a7e2a25ace2a95c2d348db76615856b56a6ea7f9c9a32bd7a273b61a04801c5c3fcba702572e7df2b0169dd0ac21450b80272c5259bfdb83baf103066b1e6b9cefb8d028b6f50835d8d40a7a3ea46130096c34a191c0d37fe6fc01ba4f1402ae1d50815ba728c3b388d178318585841e1fd65ad2acf1591a1968ee8175329e3b1abac2e97f5b0f762bb3f5dcf3ce4f03748e57b9bee04004862fbd4c153df75a3efba5692b1265151046ab54f5070be0f2cb12e25dc33468cdbf7586f45b5427fcff06c0dd174d195691e1f199143356a45f411e9c716580a55d901a10de0c8e7df6422b382d3233e'),
    (22, '\x310ec157ef4baef5cd86ecf9', '3-4/1777650621000/832281f9a18960a3', 2, 'ordergate.order.v1', '2026-05-01 15:50:21+00', '2026-11-26 20:19:07.644044+00', 'allocated', '\xc14f47318cf53fb643927e49012ac5e29396532b7632fb6864380f36a9e4d4d62ddd125788912c3d601d1bc551d059038e287e21a7f0158cbfd9df47c31e6f01e1e7072abac9e5e072db71babf10f97ffe88147514f0f55e0f10e21d87ad5455d20d88e8317404f3ff7024c61702dda0abe39c6f1d91a9af1c788433d3a56f75e42a70591062fae687d328ce26624bf539386fdac77a0175557bde6956bf0495d08a44ceb2e54465b2124a2972b62eba988aac469f58c18fbe7bd457a0adc766467ca7eac8eb05d98196c95d52e12c88f9d8ea6ea62f4b29da01553484073ede1619b84dc592ad57ca676a0ac285d9ae887df0725f38c405ee51a31b7ccb359340cfa92ceb802b593fe231896827bddb027627ebb961ff8834c65d19d2bc19de8fea8d2b702abac2e3a4ae640102b5c8250d6a1b5e56a368a51b05ef431a978b9356d7489cbb24963da6bb1de16370ce9c346920a1bbb56dda238bb28f2b2f3d92c8facc621cd9839c1af2c756071a94ceb02b61cd2cd4ddab093c7e11da159a5ff6f2eb'),
    (21, '\x9e8c333c0be570c72d8bb4c3', '3-3/1777648004000/a99cedf68cdb936e', 3, 'ordergate.order.v1', '2026-05-01 15:06:44+00', '2026-11-26 20:19:07.644044+00', 'allocated', '\xc14f47318cf53fb6be13177bb3d3d87d9abbf3ed335fefe412ce8138543f8a867c83227254deeee259e1b15867aaac4ec6fd94e0d32d2660111ac54999b29d4505a3a5d2401cc934f2b56e7aa0d242e90e8c700714642524f082f5a82b7bfeda585b3293f48a01df8b79cf9c0fcb5a488c0b284c6a55ded4c7b83352151926c0cde9c0d6571e5de063b4b29565e506cef34bf296cc57d5296537fc874b111626747be518aa25b3e81be98f772a19841180aaa597de89e72107c03c82e93d454508407ba4c058ef5f37d6412a07bfe289f80b5b6d5f27c9b0aef1857a780c531e771340b8ce52ea732fdf74df56aba3add05de5232d4fde195cfd2e68bcaa3957b6ffc9e3fa31883533b1a39e00f5f3ff1bb61cdd81f211995e9cf5bb95a802f22efcf87bd05821313b019a51cd21271841794b88c9601aae3c00593cf885bb5aad048e37d771bd3dd03793f8c04bd0236637677e4fed678f25f7c99426af781415b3a55c80a75e5aee4deacc1348a592d225680b7fe98ec5d192ffd7e5df36157cc5038bd45018bfa257c58c38139fb793'),
    (23, '\xe71d30fbaaaecefabb208117', '4-1/1777628139000/e47a91833c1d91c0', 3, 'ordergate.order.v1', '2026-05-01 09:35:39+00', '2026-11-26 20:19:09.20155+00', 'allocated', '\xc14f47318cf53fb6b2605f208fd6f0fb28669947bb06dd0e791f28a3b43f218e689a8f067cb82d631e5817c0161269ae0f8a54d9216c5cf23b500c9e3e14eba88804d9966aadc56bd5531f3adf3bd2986db21d87d1339523d753bd5c580219597025d36437efbcbaf4268e86d670e37255babbca2288b129dd07706ffa0744f05893397600b892d4c273935a4e510e43b8540fef9b2df0cff0129195bbb68cbd891572f18259bb989b3aa8b28a39f2aab6bbaec0a9c5d7398b8c4921d681597d29e847abd3ff24c911ca63df5067cbf7f2424ee60654eec8acdeb344f24c367958800cb71ea618891c15f6f0955d12b74da8c5336c58d7fa2e5e622c7ac1ef32e0b226ff4a16f20742e9dcd19498f4281f5ba77d0c3477b5f1c640e54004cff58a182a1e23c792d7eec2dd2b7f67df9f7d79755f7a7905144f0734be5271187cfb1570ddf038de93128e538d05a358b65e20cedb57fe70eb91ffb1b312a59fb7dd58de89e43c1b7cf904bbc06c09c8cbda2bef81dcbb81de9928ccac3fada1bd5039487cf5dbb950f97a5c9a8458bf13fb7c307c'),
    (24, '\xf8c9e7e213f96d4f22f391c1', '4-2/1777632818000/d4a1790b01a5a021', 2, 'ordergate.order.v1', '2026-05-01 10:53:38+00', '2026-11-26 20:19:09.219277+00', 'allocated', '\xc14f47318cf53fb6bbbe210577882e5f0327255129093630b7d2bcb35632500f5bf2b7a4ca64f3c6b80079ab3564fff1700882828959c57b62206cc40483c56c96d295967f4bd7e9c825949eeb07827b11c0b0077cf559313183378b57b425880132bc84d2c0bb7c7e4e978b40db485b9c523d910882ed6985622c24e0460307fe863e88072034c504435247a67c4539c883726b6379f1d1f251fb193bf2bc8915594aafc541f142fb4f5497de3d6e786763f0d6cd7b7715a9f896858905bb79361be81a4623e5d00790e5ddfd4a32901a6b2da0360bd6308640a6d6b108bde5c55e40857a718ca7df05745e2228fb72ae31d08e3ae83943f9cc1268f89568f89b9a37a741f0599953edd121b6a2be83bdb3b02d6573dc54eeb229c6563793fb98d21640f2a0a5bfc87c637a7704a1961d768c91393a468e01f91624cf783eabc6ba934483bc6e14a438676f94b707a0b46ad6b5412a4ebc3587ff6b49a7eac1601754bc3b7c2bf01c21518e43b790f2bd787ca7533651b27be4b76f7336c8f146');
INSERT INTO lane VALUES
    (16, 4, 'create', 1, 1, NULL, false, 'rejected:http_4xx', 0, '2026-11-26 20:19:02.058617+00', '2026-11-26 20:19:01.898518+00'),
    (17, 4, 'create', 1, 1, NULL, false, 'rejected:http_4xx', 0, '2026-11-26 20:19:02.058617+00', '2026-11-26 20:19:01.898518+00'),
    (18, 4, 'create', 1, 1, NULL, false, 'rejected:http_4xx', 0, '2026-11-26 20:19:02.058617+00', '2026-11-26 20:19:01.898518+00'),
    (19, 4, 'create', 1, 1, 1, false, NULL, 0, '2026-11-26 20:19:07.646897+00', '2026-11-26 20:19:07.646897+00'),
    (20, 4, 'create', 1, 1, 1, false, NULL, 0, '2026-11-26 20:19:07.646897+00', '2026-11-26 20:19:07.646897+00'),
    (15, 4, 'create', 1, 1, 1, true, NULL, 0, '2026-11-26 20:19:02.534692+00', '2026-11-26 20:19:01.898518+00'),
    (21, 4, 'create', 1, 1, 1, false, NULL, 0, '2026-11-26 20:19:07.695385+00', '2026-11-26 20:19:07.695385+00'),
    (22, 4, 'create', 1, 1, 1, false, NULL, 0, '2026-11-26 20:19:07.695385+00', '2026-11-26 20:19:07.695385+00'),
    (23, 4, 'create', 1, 1, NULL, false, NULL, 0, '2026-11-26 20:19:09.210803+00', '2026-11-26 20:19:09.210803+00'),
    (24, 4, 'create', 1, 1, NULL, false, NULL, 0, '2026-11-26 20:19:09.239013+00', '2026-11-26 20:19:09.239013+00');
INSERT INTO migration VALUES
    ('0001_spine', '2026-11-26 20:18:49.330202+00'),
    ('0002_shops', '2026-11-26 20:18:49.651159+00'),
    ('0004_sku', '2026-11-26 20:18:49.743005+00'),
    ('0005_notice', '2026-11-26 20:18:49.768261+00'),
    ('0006_desk', '2026-11-26 20:18:49.903175+00'),
    ('0007_purge', '2026-11-26 20:18:50.013101+00'),
    ('0008_sealed', '2026-11-26 20:18:50.044017+00');
INSERT INTO movement VALUES
    (1, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (2, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (3, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (4, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (5, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (6, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (7, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (8, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (9, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (10, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (11, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (12, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (13, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (14, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (15, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (16, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (17, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (18, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (19, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (20, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (21, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (22, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (23, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (24, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (25, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (26, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (27, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (28, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (29, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (30, NULL, 1000, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (31, NULL, 2, 0, 0, 'count', '2026-11-26 20:18:50.738454+00'),
    (1, 10, 0, 2, 0, NULL, '2026-11-26 20:19:00.331588+00'),
    (29, 10, 0, 2, 0, NULL, '2026-11-26 20:19:00.331588+00'),
    (12, 4, 0, 3, 0, NULL, '2026-11-26 20:19:00.331588+00'),
    (14, 4, 0, 3, 0, NULL, '2026-11-26 20:19:00.331588+00'),
    (19, 4, 0, 3, 0, NULL, '2026-11-26 20:19:00.331588+00'),
    (27, 5, 0, 3, 0, NULL, '2026-11-26 20:19:00.331588+00'),
    (4, 8, 0, 0, 3, NULL, '2026-11-26 20:19:00.331588+00'),
    (11, 11, 0, 0, 3, NULL, '2026-11-26 20:19:00.331588+00'),
    (19, 11, 0, 0, 3, NULL, '2026-11-26 20:19:00.331588+00'),
    (21, 11, 0, 0, 1, NULL, '2026-11-26 20:19:00.331588+00'),
    (11, 3, 0, 0, 3, NULL, '2026-11-26 20:19:00.331588+00'),
    (22, 3, 0, 0, 2, NULL, '2026-11-26 20:19:00.331588+00'),
    (24, 3, 0, 0, 3, NULL, '2026-11-26 20:19:00.331588+00'),
    (27, 3, 0, 0, 3, NULL, '2026-11-26 20:19:00.331588+00'),
    (8, 6, 0, 0, 1, NULL, '2026-11-26 20:19:00.331588+00'),
    (18, 6, 0, 0, 2, NULL, '2026-11-26 20:19:00.331588+00'),
    (23, 6, 0, 0, 1, NULL, '2026-11-26 20:19:00.331588+00'),
    (30, 6, 0, 0, 3, NULL, '2026-11-26 20:19:00.331588+00'),
    (20, 7, 0, 2, 0, NULL, '2026-11-26 20:19:00.331588+00'),
    (1, 10, 0, -2, 2, NULL, '2026-11-26 20:19:00.460581+00'),
    (29, 10, 0, -2, 2, NULL, '2026-11-26 20:19:00.460581+00'),
    (12, 4, 0, -3, 3, NULL, '2026-11-26 20:19:00.460581+00'),
    (14, 4, 0, -3, 3, NULL, '2026-11-26 20:19:00.460581+00'),
    (19, 4, 0, -3, 3, NULL, '2026-11-26 20:19:00.460581+00'),
    (4, 8, 0, 0, -3, NULL, '2026-11-26 20:19:00.460581+00'),
    (11, 11, 0, 0, -3, NULL, '2026-11-26 20:19:00.460581+00'),
    (19, 11, 0, 0, -3, NULL, '2026-11-26 20:19:00.460581+00'),
    (21, 11, 0, 0, -1, NULL, '2026-11-26 20:19:00.460581+00'),
    (1, 14, 0, 0, 2, NULL, '2026-11-26 20:19:00.460581+00'),
    (14, 14, 0, 0, 1, NULL, '2026-11-26 20:19:00.460581+00'),
    (28, 14, 0, 0, 1, NULL, '2026-11-26 20:19:00.460581+00'),
    (9, 16, 0, 0, 1, NULL, '2026-11-26 20:19:01.898518+00'),
    (18, 16, 0, 0, 2, NULL, '2026-11-26 20:19:01.898518+00'),
    (21, 16, 0, 0, 3, NULL, '2026-11-26 20:19:01.898518+00'),
    (24, 18, 0, 0, 2, NULL, '2026-11-26 20:19:01.898518+00'),
    (2, 15, 0, 0, 3, NULL, '2026-11-26 20:19:01.898518+00'),
    (8, 15, 0, 0, 3, NULL, '2026-11-26 20:19:01.898518+00'),
    (18, 17, 0, 0, 3, NULL, '2026-11-26 20:19:01.898518+00'),
    (7, 20, 0, 0, 3, NULL, '2026-11-26 20:19:07.646897+00'),
    (19, 20, 0, 0, 3, NULL, '2026-11-26 20:19:07.646897+00'),
    (28, 20, 0, 0, 1, NULL, '2026-11-26 20:19:07.646897+00'),
    (18, 19, 0, 0, 3, NULL, '2026-11-26 20:19:07.646897+00'),
    (28, 19, 0, 0, 1, NULL, '2026-11-26 20:19:07.646897+00'),
    (1, 22, 0, 0, 2, NULL, '2026-11-26 20:19:07.695385+00'),
    (8, 22, 0, 0, 3, NULL, '2026-11-26 20:19:07.695385+00'),
    (19, 21, 0, 0, 3, NULL, '2026-11-26 20:19:07.695385+00'),
    (21, 21, 0, 0, 3, NULL, '2026-11-26 20:19:07.695385+00'),
    (1, 23, 0, 0, 2, NULL, '2026-11-26 20:19:09.210803+00'),
    (3, 23, 0, 0, 1, NULL, '2026-11-26 20:19:09.210803+00'),
    (18, 23, 0, 0, 2, NULL, '2026-11-26 20:19:09.210803+00'),
    (23, 23, 0, 0, 1, NULL, '2026-11-26 20:19:09.210803+00'),
    (4, 24, 0, 0, 3, NULL, '2026-11-26 20:19:09.239013+00'),
    (14, 24, 0, 0, 3, NULL, '2026-11-26 20:19:09.239013+00');
INSERT INTO notice OVERRIDING SYSTEM VALUE VALUES
    (1, '2026-11-26 20:19:07.515412+00', 'blocked', 'wms', 'rejected:http_4xx', 'opened', '待人工：wms rejected:http_4xx，3 单', '始于 11-27 04:19:01 (UTC+8)。对方拒收，重发同样内容没有用。', '处理：ordergate deliveries list --state blocked --target wms，修改后重发，或标记已处理
docs/runbooks/blocked.md', 'waiting', NULL, false, '{}', '', NULL),
    (2, '2026-11-26 20:19:07.515412+00', 'dead_letter', 'shop-a', 'value', 'opened', '死信：shop-a value，2 条', '始于 11-27 04:19:01 (UTC+8)。这些报文无法解析，原文完整保留；同一订单的后续报文在其后等待，其余订单不受影响。', '处理：ordergate dead list --source shop-a --code value，修复后放行
docs/runbooks/dead_letter.md', 'waiting', NULL, false, '{}', '', NULL);
INSERT INTO notice_message OVERRIDING SYSTEM VALUE VALUES
    (1, 'ordergate-2-20261126T201907', 'robot', 'robot-9a3aeb4c', '死信：shop-a value，2 条', '死信：shop-a value，2 条
始于 11-27 04:19:01 (UTC+8)。这些报文无法解析，原文完整保留；同一订单的后续报文在其后等待，其余订单不受影响。
处理：ordergate dead list --source shop-a --code value，修复后放行
docs/runbooks/dead_letter.md', '{}', 1, '2026-11-26 20:19:07.543194+00', '2026-11-26 20:19:07.55248+00', 'failed', 'connect', 'Connection refused', '2026-11-26 20:19:09.552419+00'),
    (2, 'ordergate-2-20261126T201909', 'robot', 'robot-9a3aeb4c', '死信：shop-a value，2 条', '死信：shop-a value，2 条
始于 11-27 04:19:01 (UTC+8)。这些报文无法解析，原文完整保留；同一订单的后续报文在其后等待，其余订单不受影响。
处理：ordergate dead list --source shop-a --code value，修复后放行
docs/runbooks/dead_letter.md', '{}', 1, '2026-11-26 20:19:09.5839+00', '2026-11-26 20:19:09.590925+00', 'failed', 'connect', 'Connection refused', '2026-11-26 20:19:13.59088+00');
INSERT INTO orders VALUES
    (12, 'A1-12', 2, 'received', 'unpaid short_of_stock', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.331588+00', '\xc14f47318cf53fb6896a0710ca9e33c97e4b269aea6ccf70077a54a8240cb1cc176ec462644329cadae7c2203a40baa93f71993d268f683259451ae7b25d88fb77677de42bc37554c5de8c9ec32099677c853abf93d9a4f24128736973bbb10e63b279fc1d7827654e7f7b2d54e8bd24ea6a6d8894ac8b7cdf3c6ee8e4d6b09297ec5efc8b004bc008168965d841974ace0c368187382a62ec7f2f1194b8eed085c045e895b866e985a77bd026d3f3b02a0c88fc5a1c6d370bbd2799500caf2c3df44eb9b2d29c9e81e3b8640aa2e6e84e9c24057adbeac8ab0588c8f859bd'),
    (5, 'A1-6', 2, 'received', 'unpaid', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.331588+00', '\xc14f47318cf53fb6f83c5febb0bdce3e75ac3d2fcbaf620f5555d6a5e2470798c72d2e621834c79510e59528feeccfe26eb71353e60459c6c66872ecd82d20137db3d9581110a00f1a78874512331ed3053730a18754e78ad62a32e66be388fdc1df38673a6f56f0077b4df3961aac83f5af260885233f9dccd7f0bce583675e869671088bf4b19a27e1368bd5c6bb99aff46c31ac68971db7c3cb63f66c52091cdf1936fdf5adb4947805e3ff570288bd147317cf9663ee43d4660095de39901b74d2074613d5fe6dd7263e7b5e35cad110728f5b68b3a74f916aee96ea3607828a155260e536d1f2fbc6219ca238d4df780c84ae0d164ca5ac30eb79'),
    (1, 'B1-1', 3, 'received', 'unpaid', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.331588+00', '\xc14f47318cf53fb65677ff9879a716b61877b1ad9c6a16e4672bae501ec294c5808dbb7483df5c05bf5f80b0c854b10c538e99a3cd0a5fbdbd86ba3c6c14fe833b126260bdf8b6d10e4ad9845e5934daf61a7dc06afc0271ff0072af38062e39e91b2e6b6cc3f42aa0b369c3e0c6e9958543910dd01966d0547804493e56ffac3dbeae1fabc6cb08ac56250821d7a3e80aebfe562fb6038c64686c79139cbf57b5cb5756e3b82605b3ca29f753b3484149ed16dbde471385b68275695ba26820d744a3c33ce23e96626ce7'),
    (3, 'B1-3', 3, 'allocated', '', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.331588+00', '\xc14f47318cf53fb60bcab8d800b460fcc70a1ee27836c5bd6dbd4fb47649ffd648acf1947f78f04340dd816b24e6664c263500558407e3d8f8dd0db6fe2c1740577f9701ba31737c6ecc2ee8cc799f1499339ff229d4d0dcb1075660da0e3186bd0fddde055135f6e093d2e491aa051967a9ef928dce614200918d2084f66cfb3b8d8d68f1ad5ee97941d540dfdbe3cafd90eaefbb9ea831137800f1d50f31520aeab4ce3b1dc80646ad0363f794c5589bb602b8fead8cf931e1726f57034a9f305fbeb91b0b60924d8ee5e521839aff70caca96c4dfb164f0512d0faeb2e74605df8126387d4f74dfa26e33800c4a72c6b7fae13d26362f40fc3d4e1bba6f1e1c8e5e373aa05669fef8ecb0326a30fa3913db9602d731391f6a5d0a618ffa544d1207db2cdd5236e3c673afaca1724ad75d06ef18ab8bbd45da985a3a6d6d19bb8b446dca86e430d02f9b5fbbe2b07f7953bcc6b3429138dce59f61d62b8465eaaa'),
    (6, 'B1-5', 3, 'allocated', '', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.331588+00', '\xc14f47318cf53fb6d2a749f22a68f4b6714a8f06a3f11900f58ffaf5472b9c9d17c35a4ac892cd2ffe0d11afa6722de83051a7daaf8ab6edbb2ff41c6e959a6429398d6030aa1f3a6df5efe698514df6e78ba21ccb300143df5ea883e4305821a1a41ba21b9e1c44d84895297cbd2efff7d8e47bf5e3c45ecd55a6059d795bf540b97cd8cdd87cb2f79375d81fa0f6f2588170830e617c951e31af3c6012bf9ecf524bbce648406aa02ab039e106940b15a37321395d8467dd43f7257320c3dd8abf3ae67d13438898fc43f0257b813db764723110d8caef770644074e015dcf9993f89cb2b18e5e178f3f8495e194b4481135b5e778d53e2197a2e9facdf1f0d7b413d44634846a0582bb4182c11b61a5bc1582a4fc8a46c013128649cef736bb9d553edeb141d5ed31e07eaf221aa6e06c0bdee3bfd76541a411e4e97529d14fc0ef6917c8d1aa064602687def22e211241d4fbe86b86986c1232d11048675f2ec'),
    (7, 'B1-7', 3, 'received', 'unpaid', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.331588+00', '\xc14f47318cf53fb684550f5fa12c3d3a17dd8fca01c5632dbc1aa45deb4a1fd02c280ffd13cf74bbc3fd68572af941ed2d836a0d5aa4d4c4f137e899078e2efbb01d96a3e02613a5baf5f997282d2fc75abbb81cee3880943cb395e194c7ea16e492dff2bbb9065f4ad785c1df4b312f3fdd4fe3113599250d73f179fd6706009d9a6c74be6de0add0b77bb4debd2a6747223a93d469c451e6ca5bdead6e49d36ab88743480031d487be2bc81c7f73916b983e26f1d7a5c5317727b7168be22a03cc9b1095b2b3bf2a3ce870dfce69073459e2fcf89447f1d83f5aad5eb32bfcb24f47a51c56c6ccf138d2'),
    (13, 'A1-14', 2, 'received', 'unpaid', '', '2026-11-26 20:19:00.460581+00', '2026-11-26 20:19:00.460581+00', '\xc14f47318cf53fb6acc7362f3ae1b95ae355b258417b872a7894cb8a72839b5f58e167ff127cbeb2071df663f4dcaf881fe4567d7aba0300c4b2841d9f7b003406551de09cfd921aefe76abe0eeff7d0f85c38147cdd8085ddbe7680911094bdd903cc12bc22e19123437aadb9d0f430db853576c80c904d1ec515688a19373f0f9f595cff12e418f51cea947c4336da89175414ef9e4e6f9d5c9c67f63a815d80b27025ef1d3ed5c06e6382885f833df55e3394ce8e091fe9a993d3f6b3ea688c9c3fce5ad6f82dded07a47b5'),
    (14, 'B1-13', 3, 'allocated', '', '', '2026-11-26 20:19:00.460581+00', '2026-11-26 20:19:00.460581+00', '\xc14f47318cf53fb6f4fb7db5e8d98c64ef2ec1f60b1809da1c06933167f4d85a29f18b67f2463d398db23916925990674287340e673e91fedca84fc0ea0bfa0c0579950aa20fe3f5b38c27c3fc7849fa9892741c54c884ce030537c11b5f7a9a56fe3057a4c3b3061bbe007a906c6a2234dd945d267a6fffb493cc1ef1605a3dac7c971c1c6fe4447eb9c94d8bb4759c2856a853c262751537301a0aa1636cd6a76beb25e1ef34c64b264451331f0f95d75c333436ee15abd4e0d558dd0d6364a33ff10c945026121a1b3d3a1bfb4e4454a6a7e521c946760157f32a4e41deb7e2f6929cb1b15c4ceb58056d618c44fb1716b363163baf61903eb1014162fb5c0459db071ddb3ac99752c95e4b5f56ac6517300b8eb9eb38ea510847aebc041a0e7730d72f22a8cba98eb3ef9a6878a068123195be03384ab5bd1ee87a91487391d031c3587e5be33bc9cc00322b6d1fcc5c8ef549c43f957cb5823d'),
    (10, 'A1-10', 2, 'allocated', '', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.460581+00', '\xc14f47318cf53fb6e54ac536fd705d12a72f1853f2206acc976d9fa68ca7bda66d8cb4128be7c45e170671b925307f481e0d99ce35f711de6fe16b96ffa3b430899606c19474b2c8303f70a55493fea7714367df8c7ed174b68961a8d5465bad47875d254f6ae3b23e0fff3dbae7867f518ac193c8175457ce44dac557f3c5fa8873dec9442c5b5c7a921f8207d18508af5a16a28c6bb1259cc26b7fc1fcfd207545ae217102baef1d267d0196c2935f45b945ef3f78971d7a0261dd5a95c49d019ab5a91dbe2c0baedefe41c906d5ad5ae8ae9822551ab7f5c522990dad7f4bed8cc99901cebccab6bcac6f11778e5cce363fe9f4b9f310f7dbec86a1b7ebe857106c65052f1c7016995b46f588aa0b6819d9467bac84fec57580ccb3da99a1c874'),
    (2, 'A1-2', 2, 'cancelled', '', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.460581+00', '\xc14f47318cf53fb6fa9d16a3fdffeeb128c19b9f2868bcff845dbb33a793b4977c3f6facfe507a8e0451b55f37425c33076edda4cc8c6f4b3feec0ccbb93815db069c182b100765233621ad6451d0c77114b49fcde62f2a326965dd8b7e0ea3bccc4fd90b0b5f9d08b05d75833ca3218fb3bdd09de7f59b09e80b7eb9260fffd9d481dcef2f870404e8f5ff8ee3bd9189436fff268f93ad59909c0dbbc6256559b5686cfbdbda1f308c7a777d13cfff9b46d4a3f8c698417d5c623c64a13061f2fb032e3c37b3fd76eb8d09717678e888a5f39957357d8c6477a84ad40a3eb84563cc4ba63c3d906322d722ffe352f2da76275c0563bdcadd9882983b5ea27b9e98ad3594e3ed2a8ef8b2c9807a38f4130d68a30870081a9c597d0525d3e17d7cfa3eaf0fbfa83b4'),
    (4, 'A1-4', 2, 'allocated', '', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.460581+00', '\xc14f47318cf53fb60ba68d230c0b2d7b35c42011491f276d3c882b0b3b7c70468cec004da6f272c962c1a753bb84c7e536ed387ee2c719afe7993dfbe5be60ba959d43cad8a138b2bfbdfbb592e87180a3790c33ccdcddbd188b570753f44ee47bb891fe114eb912aff40dd310b94316bd5ab318fdc4740e1b90547da28203db206d24657d4ffbc55a8d1fd79885994b86632d77af96a2b301bf710ee8a6adf076e38ac625c912aac85c31b6d1d3c382923ed8fcd5134a13258e296c1bb88293e4626eb02e762811db66dd5495ea8d240b7e86960a7f98ae55d910a9af6b2a6841d24de3718abfb896545ec2d6784271f9347041453023eafe603765dc376ca60d178de990d855ae3a54a53d40f0303c21d9c2003320a40f4f77874881d1c816415f901ea8695e8b0e3dc21ca5ea82a180811a65cf4b1db2128817637724ff087d6f1ab66d7a4053b72cf2483bb6053802128cfc9fcc191367e2'),
    (8, 'A1-8', 2, 'cancelled', '', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.460581+00', '\xc14f47318cf53fb61cf82dadd5a596da8973bff8d561ab748b7a18b0662e9a8c041003c027f62c75263db0262b46f7a80f22fb61344634246137524f0fe43e63c89f57a59f21aeabf1ffdbe5c4fb0c5d6b189faeca84771349d3cd630dbcaae1eb54bb8d6b2d4004a90822c599ce7dd0ece8d13067bb19f3e5030b618a23bc101cb01703d9a1930e4a95ea7ba0459920fc57e97243f995fcff722d67e85ec5543e3ec98d383cf060d8dea5e2a894173ae8e0fd02e919cb1d5d9aa568db3cae14746f71f14ddcb67fdc2930d03db6febb3c5cb520b0a6cc7b948eee17420673c39a545401234c7486cc0428ee59363f5ad79b105f131b51619a6e16ca99f7eca40f8718427cf4b9361a969ba060f6561d7d8a1bec622271180f91b85bfb849348770fdca067dd7d934130'),
    (11, 'B1-11', 3, 'cancelled', '', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.460581+00', '\xc14f47318cf53fb65dcc83305c012cdbd17056425412bceab90ae14722865d42b124162c62998c22df1820e725125cdcd81fbdd31365d6408b0be102aac3045c84415cc3e30577401efb4f9bc21c6d25e5c0a5bb55351804d4c49f9aef2595d06a26f06c33fc741678618d3180663e1e313c39118c9ef5abb93d5e2d0c7fa04087c71f0c65a1932dcc11cfd992a722710bc2e7631a6b0e99fee2a99f00144e36a9c8a33af72eb699a11a150ff1b5fef31aae67174848a572df6ebccc8d3f6c3f3363e08b2921f62c2a6aee84209a51d1982a5a145751778f87502b23a95ee852e823a174dbcb9330ef1aed984e695c7465abc444d9971343e51ad0e5fcb1012c7a977e0dc571eea6fe5db4c7d86550e674fb69d54b8ef3fa256ed5822bdf09e77e8929873b020e2a820d281449c77ee54c6941fc681450399dc2e01017e0cfc358aef36d36dc67c710f9c5bc741c'),
    (9, 'B1-9', 3, 'reviewed', 'short_of_stock', '', '2026-11-26 20:19:00.331588+00', '2026-11-26 20:19:00.460581+00', '\xc14f47318cf53fb631312c482786a01f83e7eb4b53948479ea7385629cbbc70536f4328df8a18d604547ef71d2dfe7aaedc7f80cb1bf7ca9beee1a38657dbb7f9ead4c00684e605d425594be4c81d6f323f53cd5d045124f5e42a6b73403e12cbad983f5c7f680972dd1a54dede0b7c2361685815b94b49ff636a45b08a314dce1bbf760916a4e42aa163f37d966a8adfeb9324e017d44881328febec72cfc8b94ae120e2084db09c450a8d95cff55c9ca1193ed10fc853b81cb090a31181625006c580cf43735cdf97e270f956d76d3e152c5b3febb232b1b0c0c76f46a6726f04f21612113586bed4eaaf9adb1edb25324e363bf7d38598fd38e572eef576f'),
    (20, 'A3-2', 2, 'allocated', '', '', '2026-11-26 20:19:07.646897+00', '2026-11-26 20:19:07.646897+00', '\xc14f47318cf53fb68e074ae349c59b6c2587b4b500ec8992e55d8736247579a514787e1dbd5486ebdd904cbdaccd2e9d57f8ff0e202c947db1a6154494778ce14acf2c8f2c7c7660fab50873428bb908659992d9715faf9a0ac10bd5f146b7d98bac77a46ec014d045aaaeafb7863ce634c18531e48797c1209028a9bdf3162376ad992318d716c85b34b0de75fcca571a53dd192898da8bef38a664ac922102194f4089d87f37e83d22e65e2d715833767102bcb455426337172074295fdd50409f8300adf7ffcdab4a72a0268d3e5dc93b928442ec694f44e51b917bcc854d51636b78196d67f6baae6597cb50c8057f73414a9fd7d8f0deccbe7668b144b550baa6cd63a7cf17ff152bd34dd6f19777e778c892de183c78b14a16b8704b7c407a8ab5776737741474104d1ef20fc5a2240d8fbbc754f3b92de509bff7bc2f792628c7a265c625f3cd3f64dc92dcff85fcf4a3b650ad948bb3'),
    (19, 'B3-1', 3, 'allocated', '', '', '2026-11-26 20:19:07.646897+00', '2026-11-26 20:19:07.646897+00', '\xc14f47318cf53fb64b9f0469ed5ba07007eaa320421555ba8726b840c9552b8d80d796be4fb1fd539d4c0f62c56c887711a6bcc40ccc9f693fd57f628d749e0ddbe67d6314c88719f0ae9d8aec9048e701c4dfc9af634d8aa663c33c7a0c4e25a2f308814cd5057fe66f96e1f1c07d7299aa5c6fa1ee41306ec94f9770afc5d49d06629d554a28a3e946051b221d9a9fc3765cd9548fa32a0f16192489ceff45ae7e673a6f25733274090d1ab8fc126eb653138017eda69d9d3d601a3477adec7620cfef7d13dd9ba28448f277b48cf71228659351829a11834a4d22ae77370ac65f63090a121bfcb3c9fc8bad7537ab5264ed2b9c626ac2c6123eeb25458d7706049dd43d6b0a7a2973620ab0391886250a48ce43bc707bfc540c83da77489f'),
    (22, 'A3-4', 2, 'allocated', '', '', '2026-11-26 20:19:07.695385+00', '2026-11-26 20:19:07.695385+00', '\xc14f47318cf53fb6ae1bf6c21e8ab84a090e37280df25eb69d443077d9bed2d3792d08e23aa88b0800308057160b2b72de77ec5a8f29463fd053b59c721a23d82d79d46a6067ba2e1a5387bf3c50af630ba1582ea014cc9d574235daa804669c9c4c3bf07c7ace1cdcdccaabb34c48db06e79dc9c5a85a88a2f108b97fef53348c6818805a489b1f8ae1a1bafc6d0afba83681bba98528d0377ff68f2d336bbebd9a0aaeaa96c5f76cb5f55fe0adaba4d7fa22ccc7c125d6d14479a3c93c602fea9a1e2ed83c6342d050ebfbd9c9a942226010b2ee0d0b29c09c4430ec4a570063727e8ebace82ed226f1ea6763004abb68c548a808dad8c939210b0073ca1788b72e122d69410f77bc4b8a1b293ad8bff523e0ea4a8496d3061418e41053a74874e59c86be135598045ba3ed38aef68789cac9d730b354bdd'),
    (21, 'B3-3', 3, 'allocated', '', '', '2026-11-26 20:19:07.695385+00', '2026-11-26 20:19:07.695385+00', '\xc14f47318cf53fb6cc7b61fed451bea4881fc83817620fba38485d290e72cbef67ecd1ab39651fd0807ff8a571bda9c26bb14125762bac4a95ed897d939960d86168cb36ea159f6a860c496bbafcd7766834701855a81b6786d023e68707f14af6a7f05d318f184df082e2aacae92954279de499a6776c2bc184635ee2c83d883dacb87dc4af1865ab6235a0fd4b96a1c6ab0c3949685e0c5cc835d90d55d5432d805b55b021743700ed77db70994ad0bad92a4086c256e36843bfef04b20833ac4943e0bcd0850c44acccba2ddb770dbc3fbfafc76adef26300dddfab5366b9faeb6e9198c655fe1fa034b91029a0b27385c35c2c09e042f967055b14953bd57f258d2bbb9171e03640102e4b6a2de1b5c9abd5448f9e936469d4abc04e170ee60030fee15cfe43fe4774061186491038e15389e8ff650d5c598f895ccf0359b3de293f5a41a64c7a67'),
    (23, 'B4-1', 3, 'allocated', '', '', '2026-11-26 20:19:09.210803+00', '2026-11-26 20:19:09.210803+00', '\xc14f47318cf53fb6492105ac7a1ee6a3191fcb1183791119df3a6749f0f07952b901da960d54fb16f614c61e78e2eb709e6adab1dd3ed5e58ba15ec79017dc3cac5a31ee996f41f78d7d1b7f889589ed464611fc38ddae47d83647e7cd62639cff68bb8f6ac9ebd5e7b3523fa458206d4779517329faa004e9c5ed58cfd7a2dd43bd5c14ced6ec58092430ca8c1e34351f48ef66f4cef90e8a4dfe23b16af6fea3f460130a7c3243dfcc2c260c4d145beed6c6ecdd6c39c23bb0226ef7c57a823463a31623bb133198b570341b452a4fdbbb770c38636f378cc3aba49210686251da39eb56540d13653c316b7cf07ca37399afc771350ee829537669f675338c20a976ae4f43b7a4c04020a2f69fb1011b44f5973f11ea729899daadf080557be6d24809924ec3db0e8919cc9e497eecff08887186567b7dde9a329888a7ab495b68c8d7a8cd1b223cdbe5a5d6bbcf034bb7dcf819426e4bcd38d75b13ca3d2114f7'),
    (16, 'A2-2', 2, 'allocated', '', '', '2026-11-26 20:19:01.898518+00', '2026-11-26 20:19:01.898518+00', '\xc14f47318cf53fb6f94a1c92bd229755bd15ee1d526fcfb588ce562d5661fc86679f9876a512c806c31fe3c120240b98da35f6738b66a06dd39d97c9d3f63db5c8e4a45cfc2ea3b7bf09e2d673797ffd6e70f8663afe1ca10853cd9172ad14f3ada612b255e16206d67727b868896cd9820c9e093fb1a8d7e85e5c56759ca1866af1782d3424b6189cfa76c6b6634f598055dffe0a72fc27f9fc94612637e1b98b5659eef61faf8137c10d72c3d4bbede07c776e0bb1346a5375b6bcfe7e388df47f21ac2ba850b5d78d60bc4a1fdd713b3bdadf3b0b706824443c30be813dbc64cd9d33ef91b7174248ec1252696434afda68ce5e5d66bdeffa21f55c454d3701cd6bdc563dd8ae6833f92a20a739b6676d596746759c91ae8a99088d8fd6b252f687ddb55346b4615191cda9fbbd5bfd0958586f95707cf17bf457515af760203dcd19f95fd6a51deb4ec1099b126a1790d750f6f65de8b554'),
    (18, 'A2-4', 2, 'allocated', '', '', '2026-11-26 20:19:01.898518+00', '2026-11-26 20:19:01.898518+00', '\xc14f47318cf53fb64d606adc8b5fe837dd2a25fdc355d137532de4e826cb2f8ac066c043934a86c25557bf18d86f154e03d2116d9bbcf5578e0132190d396d156102c521dbfe3aaae3877b99ea4236a298661e5cf33882ff01a03f4c3c21355313b2cfb9349a7865d6a1765e20b29077d744133cd4b31884c7b879f2ecd0bce726d468aba5903388ffc8d9d90fd3afc98f53cf680970e83ff7f6d3b50f2a2ee115b2ee6d51bcf56593cdbdc832c2868b2029c81d18703174db4a6aeb7372a68eb117b3a42b271325450f8a18885646f3858ed9fbdd399be4cefb192baf94352859ecd07587b44d8ed9eb72203844f43d56bf3402c5eb9aee68000dee213f3c3a5cbf7cb0e029c0d68ceba24a9d0e64fa6b6fdc201924da27'),
    (15, 'B2-1', 3, 'allocated', '', '', '2026-11-26 20:19:01.898518+00', '2026-11-26 20:19:01.898518+00', '\xc14f47318cf53fb692c1b48434da55f85a08ae2d55c1f18b60ac173e79c02b1a16c6b7ca50d3fe1d58eb1a7e6b0bbe1bd9c5f10b7b562a568a9fe3f7ee72266adb61e6d131c8027a6f84bbcdea3e02500b4a2ddbcde41dd810698530d196048c23e6393c035734202a58841f39d5da5a00603084fcab8911276ca179e7ae64bba4d65f7f2dfee7b61fdf095e58e294e3efb44852e8cb4f87b2d5096241bb605a0964fd1a88893afe2ef03612969a87e248bae1f8516f389bf09f8c55bdedb426d0331514afb84aeda255c115553091eb96d428c827d1180f56d08529ec63c8a3cc0dcf4fa99f602c602cc11674cb960a42c9efdf523ba8c8b3f7ffa910ba448ffb6d4c9dca92e828280e582ee5de790ab1c0fbe5878e96385ed3a70eba2d14bba63f35215e45827f52ad1327c8d1beeab978d5a032e243a92e'),
    (17, 'B2-3', 3, 'allocated', '', '', '2026-11-26 20:19:01.898518+00', '2026-11-26 20:19:01.898518+00', '\xc14f47318cf53fb63c7f251761d27a9d87dc6586a04500d68cdbb476b0e0751383f5e5088e29d8fe7c01e6fbe89e859aed445e9cddaa85b95ba42ead9d7e23392ad728128734c0a42bf68b3a82a4d958e8f666015208f366a5b449d6ad4793e80760d00782481c767c02a28d3677dde1e2bdd68b85ab37d55fc86c5107b65db7a078fa6ba0f3cfe7fcce85ff050c63ff66c712e8953d236cf49ce06120645f119d421906c9220c311c00641f3a0263e752d4418ea2e7847daebcf9343ce8234d80ef1185a2632934637db1ebfb9d56a23c8af44ad5a7c115253e00faaddd2c62c1ed54207e7d6b9ef2027e8ecf4b018a915a9345c469f58fa41af63659d29ad65ef877552597d33c92d8c7bae5344d652afb28ebab8ea987'),
    (24, 'A4-2', 2, 'allocated', '', '', '2026-11-26 20:19:09.239013+00', '2026-11-26 20:19:09.239013+00', '\xc14f47318cf53fb6b8c53a1de2ce4d5c8adfae214957804aa4f3c7f5326455739f4b3b238dc725076de8347a319be25037f104de086ef31a122ea5f5620bc007b0eb1bac2aa6397f7f664c06a638658b7c045b0dfd2c083c8cb8ca35df7cd4932c5b7dde06e9deb7c5d41769de31b5347a2defca1340a1237cfb262b1888ea478f39c2f5a102db3ceb20605c41aae5e3f36b248a07774c1595f63d637439e7bfb28bedd4122775f99afc8fe010aebbbfb40f364996cc307d01886d95b7c3a79ad3111410ed037dc50dea6daa006c540e0438372b2083bc029cfd9a49728930c7b8e4682e6f669a85e02577941edaca3e7f72f877443a325a2a83d64e7b6e15e63f7855eae2a6f1f6c7860984d98817eb14bf3bafd8eb49b5822a1a80264605a5ea0470e350bb15a63971233fb45be68bc146e512c1c0ae07dc');
INSERT INTO purge_walk VALUES
    (true, -1, '2026-11-26 20:19:00.208497+00', '2026-11-26 20:19:00.208497+00');
INSERT INTO redrive OVERRIDING SYSTEM VALUE VALUES
    (1, '{"kinds":["delivery","dead_letter"],"target":"wms"}', '仓库恢复，王先生来电', 'admin', false, 0.02, 'running', '2026-11-26 20:19:02.227318+00', '2026-11-26 20:19:52.403933+00', NULL, NULL);
INSERT INTO redrive_item VALUES
    (1, 2, 'waiting', 16, 4, 1, NULL, 'rejected:http_4xx', true, '2026-11-26 20:19:02.534801+00', NULL, NULL, NULL, NULL, NULL),
    (1, 3, 'waiting', 17, 4, 1, NULL, 'rejected:http_4xx', true, '2026-11-26 20:19:02.534841+00', NULL, NULL, NULL, NULL, NULL),
    (1, 4, 'waiting', 18, 4, 1, NULL, 'rejected:http_4xx', true, '2026-11-26 20:19:02.545655+00', NULL, NULL, NULL, NULL, NULL),
    (1, 1, 'released', 15, 4, 1, NULL, 'rejected:http_4xx', true, '2026-11-26 20:19:02.534692+00', false, 0, '2026-11-26 20:19:02.058617+00', '2026-11-26 20:19:02.534692+00', NULL);
INSERT INTO sealing_key VALUES
    ('8cf53fb6', '2026-11-26 20:18:55.780123+00');
INSERT INTO stock OVERRIDING SYSTEM VALUE VALUES
    (5, 'SKU-006', 'WH1', 1000, 0, 0),
    (6, 'SKU-007', 'WH1', 1000, 0, 0),
    (10, 'SKU-013', 'WH1', 1000, 0, 0),
    (13, 'SKU-017', 'WH1', 1000, 0, 0),
    (15, 'SKU-019', 'WH1', 1000, 0, 0),
    (16, 'SKU-021', 'WH1', 1000, 0, 0),
    (17, 'SKU-022', 'WH1', 1000, 0, 0),
    (25, 'SKU-033', 'WH1', 1000, 0, 0),
    (26, 'SKU-034', 'WH1', 1000, 0, 0),
    (31, 'SKU-scarce', 'WH1', 2, 0, 0),
    (1, 'SKU-001', 'WH1', 1000, 0, 8),
    (3, 'SKU-003', 'WH1', 1000, 0, 1),
    (18, 'SKU-023', 'WH1', 1000, 0, 12),
    (23, 'SKU-030', 'WH1', 1000, 0, 2),
    (4, 'SKU-005', 'WH1', 1000, 0, 3),
    (27, 'SKU-035', 'WH1', 1000, 3, 3),
    (14, 'SKU-018', 'WH1', 1000, 0, 7),
    (22, 'SKU-029', 'WH1', 1000, 0, 2),
    (30, 'SKU-039', 'WH1', 1000, 0, 3),
    (20, 'SKU-026', 'WH1', 1000, 2, 0),
    (29, 'SKU-038', 'WH1', 1000, 0, 2),
    (12, 'SKU-015', 'WH1', 1000, 0, 3),
    (11, 'SKU-014', 'WH1', 1000, 0, 3),
    (9, 'SKU-011', 'WH1', 1000, 0, 1),
    (24, 'SKU-031', 'WH1', 1000, 0, 5),
    (2, 'SKU-002', 'WH1', 1000, 0, 3),
    (7, 'SKU-009', 'WH1', 1000, 0, 3),
    (28, 'SKU-037', 'WH1', 1000, 0, 3),
    (8, 'SKU-010', 'WH1', 1000, 0, 7),
    (19, 'SKU-025', 'WH1', 1000, 0, 9),
    (21, 'SKU-027', 'WH1', 1000, 0, 6);
INSERT INTO worker OVERRIDING SYSTEM VALUE VALUES
    (1, 'f5889261/0', 4, '2026-11-26 20:18:59.757118+00', '2026-11-26 20:19:10.135763+00');
SELECT pg_catalog.setval('api_token_token_id_seq', 1, true);
SELECT pg_catalog.setval('audit_audit_id_seq', 5, true);
SELECT pg_catalog.setval('connection_connection_id_seq', 4, true);
SELECT pg_catalog.setval('dead_letter_dead_letter_id_seq', 2, true);
SELECT pg_catalog.setval('delivery_edit_edit_id_seq', 1, false);
SELECT pg_catalog.setval('inbox_inbox_id_seq', 37, true);
SELECT pg_catalog.setval('listing_listing_id_seq', 1, false);
SELECT pg_catalog.setval('notice_message_message_id_seq', 2, true);
SELECT pg_catalog.setval('notice_notice_id_seq', 2, true);
SELECT pg_catalog.setval('order_block', 1, true);
SELECT pg_catalog.setval('redrive_redrive_id_seq', 1, true);
SELECT pg_catalog.setval('stock_stock_id_seq', 31, true);
SELECT pg_catalog.setval('worker_worker_id_seq', 1, true);
ALTER TABLE ONLY api_token
    ADD CONSTRAINT api_token_pkey PRIMARY KEY (token_id);
ALTER TABLE ONLY api_token
    ADD CONSTRAINT api_token_sha256_key UNIQUE (sha256);
ALTER TABLE ONLY audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (audit_id);
ALTER TABLE ONLY breaker_override
    ADD CONSTRAINT breaker_override_pkey PRIMARY KEY (target_id, operation);
ALTER TABLE ONLY component
    ADD CONSTRAINT component_pkey PRIMARY KEY (listing_id, sku, gift);
ALTER TABLE ONLY condition
    ADD CONSTRAINT condition_pkey PRIMARY KEY (kind, connection, subject);
ALTER TABLE ONLY conflict_handled
    ADD CONSTRAINT conflict_handled_pkey PRIMARY KEY (order_id);
ALTER TABLE ONLY connection
    ADD CONSTRAINT connection_name_key UNIQUE (name);
ALTER TABLE ONLY connection
    ADD CONSTRAINT connection_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY credential
    ADD CONSTRAINT credential_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY dead_letter
    ADD CONSTRAINT dead_letter_pkey PRIMARY KEY (dead_letter_id);
ALTER TABLE ONLY delivery_edit
    ADD CONSTRAINT delivery_edit_pkey PRIMARY KEY (edit_id);
ALTER TABLE ONLY delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (order_id, target_id, seq);
ALTER TABLE ONLY duty
    ADD CONSTRAINT duty_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY event
    ADD CONSTRAINT event_pkey PRIMARY KEY (order_id, digest);
ALTER TABLE ONLY inbox
    ADD CONSTRAINT inbox_pkey PRIMARY KEY (inbox_id);
ALTER TABLE ONLY lane
    ADD CONSTRAINT lane_pkey PRIMARY KEY (order_id, target_id);
ALTER TABLE ONLY listing
    ADD CONSTRAINT listing_connection_id_sku_key UNIQUE (connection_id, sku);
ALTER TABLE ONLY listing
    ADD CONSTRAINT listing_pkey PRIMARY KEY (listing_id);
ALTER TABLE ONLY migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (name);
ALTER TABLE ONLY movement_past
    ADD CONSTRAINT movement_past_pkey PRIMARY KEY (stock_id);
ALTER TABLE ONLY notice_message
    ADD CONSTRAINT notice_message_pkey PRIMARY KEY (message_id);
ALTER TABLE ONLY notice
    ADD CONSTRAINT notice_pkey PRIMARY KEY (notice_id);
ALTER TABLE ONLY orders
    ADD CONSTRAINT orders_number_key UNIQUE (number);
ALTER TABLE ONLY orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (order_id);
ALTER TABLE ONLY pull
    ADD CONSTRAINT pull_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY purge_walk
    ADD CONSTRAINT purge_walk_pkey PRIMARY KEY (only_row);
ALTER TABLE ONLY redrive_item
    ADD CONSTRAINT redrive_item_pkey PRIMARY KEY (redrive_id, n);
ALTER TABLE ONLY redrive
    ADD CONSTRAINT redrive_pkey PRIMARY KEY (redrive_id);
ALTER TABLE ONLY sealing_key
    ADD CONSTRAINT sealing_key_pkey PRIMARY KEY (key_id);
ALTER TABLE ONLY sighting
    ADD CONSTRAINT sighting_pkey PRIMARY KEY (worker_id, kind, subject);
ALTER TABLE ONLY sku_table
    ADD CONSTRAINT sku_table_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY stock
    ADD CONSTRAINT stock_pkey PRIMARY KEY (stock_id);
ALTER TABLE ONLY stock
    ADD CONSTRAINT stock_sku_warehouse_key UNIQUE (sku, warehouse);
ALTER TABLE ONLY worker_lost
    ADD CONSTRAINT worker_lost_pkey PRIMARY KEY (worker_id);
ALTER TABLE ONLY worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (worker_id);
CREATE INDEX attempt_delivery ON attempt USING btree (order_id);
CREATE INDEX audit_subject ON audit USING btree (subject text_pattern_ops);
CREATE INDEX component_sku ON component USING btree (sku);
CREATE UNIQUE INDEX dead_letter_open ON dead_letter USING btree (number, md5(((source || chr(31)) || event_id)), COALESCE(body_sha256, sha256(body))) WHERE (closed_at IS NULL);
CREATE INDEX dead_letter_waiting ON dead_letter USING btree (source, code, created_at, dead_letter_id) WHERE (closed_at IS NULL);
CREATE INDEX delivery_edit_delivery ON delivery_edit USING btree (order_id, target_id, seq);
CREATE INDEX duty_worker ON duty USING btree (worker_id);
CREATE INDEX lane_blocked ON lane USING btree (target_id, operation, blocked, not_before, order_id) WHERE (blocked IS NOT NULL);
CREATE INDEX lane_free ON lane USING btree (target_id, operation, not_before) WHERE ((worker_id IS NULL) AND (blocked IS NULL));
CREATE INDEX listing_published ON listing USING btree (connection_id, changed_at) WHERE publish;
CREATE INDEX movement_moved ON movement USING brin (moved_at);
CREATE INDEX movement_order ON movement USING brin (order_id) WITH (pages_per_range='16');
CREATE INDEX notice_message_id ON notice USING btree (message_id) WHERE (message_id IS NOT NULL);
CREATE INDEX notice_message_outlet ON notice_message USING btree (channel, outlet, began_at);
CREATE INDEX notice_message_unsettled ON notice_message USING btree (message_id) WHERE ((result IS NULL) OR (result = 'unknown'::text));
CREATE INDEX notice_open ON notice USING btree (at) WHERE (state = ANY (ARRAY['waiting'::text, 'sending'::text]));
CREATE INDEX orders_conflict ON orders USING btree (connection_id, conflicts, updated_at, order_id) WHERE (conflicts <> ''::text);
CREATE INDEX orders_held ON orders USING btree (connection_id, reasons, updated_at, order_id) WHERE ((reasons <> ''::text) AND (reasons !~ '(^| )(unpaid|channel_hold|no_content|observed|before_start)( |$)'::text));
CREATE INDEX orders_waiting ON orders USING btree (stage, updated_at) WHERE (stage = ANY (ARRAY['received'::text, 'reviewed'::text, 'conflict'::text]));
CREATE UNIQUE INDEX redrive_item_lane ON redrive_item USING btree (order_id, target_id) WHERE (state = ANY (ARRAY['waiting'::text, 'released'::text]));
CREATE UNIQUE INDEX redrive_item_letter ON redrive_item USING btree (dead_letter_id) WHERE (state = 'waiting'::text);
CREATE INDEX redrive_item_order ON redrive_item USING btree (order_id) WHERE (order_id IS NOT NULL);
CREATE INDEX redrive_item_state ON redrive_item USING btree (redrive_id, state, n);
CREATE INDEX redrive_running ON redrive USING btree (next_at) WHERE (state = 'running'::text);
ALTER TABLE ONLY component
    ADD CONSTRAINT component_listing_id_fkey FOREIGN KEY (listing_id) REFERENCES listing(listing_id) ON DELETE CASCADE;
ALTER TABLE ONLY credential
    ADD CONSTRAINT credential_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connection(connection_id);
ALTER TABLE ONLY duty
    ADD CONSTRAINT duty_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connection(connection_id);
ALTER TABLE ONLY duty
    ADD CONSTRAINT duty_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES worker(worker_id) ON DELETE SET NULL;
ALTER TABLE ONLY listing
    ADD CONSTRAINT listing_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connection(connection_id);
ALTER TABLE ONLY pull
    ADD CONSTRAINT pull_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connection(connection_id);
ALTER TABLE ONLY redrive_item
    ADD CONSTRAINT redrive_item_redrive_id_fkey FOREIGN KEY (redrive_id) REFERENCES redrive(redrive_id) ON DELETE CASCADE;
ALTER TABLE ONLY sighting
    ADD CONSTRAINT sighting_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES worker(worker_id) ON DELETE CASCADE;
ALTER TABLE ONLY sku_table
    ADD CONSTRAINT sku_table_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connection(connection_id);
