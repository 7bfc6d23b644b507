"""The parameter table: everything that may differ between simulation and reality. No jax here."""

from mjx_s2r.params.bounds import Bound as Bound
from mjx_s2r.params.param import Edit as Edit
from mjx_s2r.params.param import Param as Param
from mjx_s2r.params.param import ParamError as ParamError
from mjx_s2r.params.param import Range as Range
from mjx_s2r.params.param import add as add
from mjx_s2r.params.param import scale as scale
from mjx_s2r.params.param import set_to as set_to
from mjx_s2r.params.param import unknown as unknown
from mjx_s2r.params.space import Array as Array
from mjx_s2r.params.space import ParamSpace as ParamSpace
from mjx_s2r.params.space import apply as apply
from mjx_s2r.params.space import bind as bind
