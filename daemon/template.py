"""The `ocrd.toml` that `ocrd init` writes: every setting of `daemon.config`, with its default and what it is for."""

TEMPLATE = """\
# Settings of ocrd. Every line shows its default; remove the # to change it.
# An environment variable overrides a line: OCRD_INGEST__WORKERS=2 sets workers in [ingest].

# inbox = "inbox"            # where documents are dropped (relative to this folder, or absolute)
# outbox = "outbox"          # where receipts appear, one JSON file a document
# outbox_text = true         # receipts carry the text after anonymisation
# languages = ["en"]         # `ocrd doctor` names those the model's dictionary cannot write
# sandbox = "require"        # "warn": serve even where the kernel cannot confine the decoder (ocrd doctor)

[ingest]
# workers = 1                # documents read at the same time
# settle_seconds = 1.0       # a file is taken when it has not changed for so long
# rescan_seconds = 5.0       # the inbox is listed so often, whatever the events say
# sidecar_wait_seconds = 3600.0  # a label file without its image is given up after so long
# max_file_bytes = 67108864
# max_pages = 50
# max_pixels = 50000000      # a page
# max_total_pixels = 250000000   # all pages of a file together
# pdf_dpi = 200
# confirm = true             # an image is decoded twice; two decoders that disagree send it to quarantine
# heic = false               # true: take HEIC pictures, which one decoder alone can read
# decode_seconds = 30.0      # a document that takes longer is killed and goes to failed/
# read_seconds = 300.0
# originals = "seal"         # "seal": keep the sealed original for originals_days; "delete": never keep it
# originals_days = 7.0
# retain_documents = 100000  # what is sealed of older arrivals is destroyed, the oldest first, whatever it is;
# retain_days = 365.0        # likewise after so long (0: no limit)
# min_free_bytes = 1073741824   # with less room on the disk nothing is taken out of the inbox;
# min_free_files = 10000     # likewise with fewer files that the file system can still make

[anonymise]
# policy = "balanced"        # "strict": also words outside a public vocabulary and numbers of 4 digits or more;
                             # "custom": the detectors in kinds, and no others
# off = []                   # with balanced: detectors to do without, for example ["phone"]
# kinds = []                 # with custom, for example ["name", "full_name", "labelled_field", "face"]
# allow = []                 # phrases that stay, for example ["Example Clinic", "+49 30 000000"]
# deny = []                  # phrases that go, whatever they are
# rules = []                 # patterns that go: [{ name = "project", pattern = "PRJ-\\d{4}" }]
# surrogates = []            # kinds to replace by made-up values instead of filling, for example ["name", "address",
                             # "birth_date", "date", "record", "account", "plate"]; see docs/anonymisation.md

[learning]                   # public numbers: choose them before you look at the documents
# calendar = "0 2 * * sun"   # rounds run on this public calendar (cron, UTC): Sundays at two
# capacity = 2000            # units of the pool; a full one drops its oldest
# holdout_share = 0.2        # units that never train; they judge candidates
# epsilon = 8.0              # what a unit may cost over its whole life ...
# delta = 1e-6               # ... except with this probability
# rounds_per_document = 4    # a unit's budget is divided into so many equal tickets
# gate_looks_per_document = 4   # likewise for a hold-out unit and the gate's looks, one a round
# unit = "document"          # or "source": all that is under one sub-folder of the inbox; cannot be changed later
# adapter = "auto"           # which parameters learn: auto tries neck, head, bias; also top, lora, norm, all
# charset = "latin"          # which characters may change: latin or ascii
# closed = false             # true: a trained model writes no other characters, and reads these better
# public_start = true        # the first round offers a model taught on generated documents: made once, 1 to 2 hours
# label_confidence = 0.95    # an unlabelled line teaches above this smallest character confidence
# device = "auto"            # where rounds train: a GPU if one can be used; "cpu"; "cuda": there or not at all
# memory_share = 0.75        # of the machine's memory, for a round; more ends it (where systemd delegates cgroups)

[drift]
# every_hours = 6.0

[gates]
# anchor_documents = 60      # generated public documents on which a candidate may not be worse
# anchor_margin = 0.005      # by more than this much CER
# latency_ratio = 1.1
# holdout_tolerance = 0.02
# keep_versions = 5
"""
