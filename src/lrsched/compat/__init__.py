"""The peers' schedules under the peers' names: one file a peer, each returns our `Schedule`.

A recipe moves by changing an import. Where the peer takes an optimizer, ours takes ``base_lr`` in
its place, first. The values are the peer's at every step, its off-by-ones and rebounds included.
"""
