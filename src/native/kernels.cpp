// All of the arithmetic for one instruction set: compiled once for each, with flags of its own (CMakeLists.txt).
#include "kernels.h"

#include "columns.h"

namespace {

template <class P>
constexpr finerank::Kernels kKernels = {
    .enter = enter<P>, .attend = attend_head<P>, .pass = pass<P>, .finish = finish<P>, .leave = leave<P>,
    .compare = compare, .project_heads = project_heads<P>, .attend_heads = attend_heads<P>,
    .add_columns = add_columns<P>, .up_columns = up_columns<P>, .down_columns = down_columns<P>, .end_rows = end_rows,
    .products_alone = products_alone<P>};

}  // namespace

namespace finerank {

extern constinit const Kernels FINERANK_INT16 = kKernels<Int16>, FINERANK_FP32 = kKernels<Fp32>;

}  // namespace finerank
