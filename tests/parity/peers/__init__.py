"""One module for each library: `CALLS`, each evaluated in the library and in lrsched.

A call is Python text such as ``"CosineAnnealingLR(0.1, T_max=50)"``. It is evaluated twice: in
`lrsched.compat.<library>`, where it gives a `Schedule`, and in the `namespace()` of the module
here, where it gives a function from a number of updates to the original's values. `originals()`
returns the original functions, whose argument names the ported ones must have.
"""
