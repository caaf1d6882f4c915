"""One module a peer: `CALLS`, each written once for the peer and for ours, and the peer's side.

A call is Python text such as ``"CosineAnnealingLR(0.1, T_max=50)"``. It is evaluated twice: in
`lrsched.compat.<peer>`, where it gives a `Schedule`, and in the `namespace()` of the module here,
where it gives the real peer's values, one for each update, as a function of how many are wanted.
`originals()` are the peer's functions, whose argument names ours must have.
"""
