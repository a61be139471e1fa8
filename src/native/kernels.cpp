// All of the arithmetic for one instruction set: compiled once for each, with flags of its own (CMakeLists.txt).
#include "kernels.h"

#include "columns.h"

namespace finerank {

#define FINERANK_KERNELS(P)                                                                                         \
  {enter<P>, attend_head<P>, pass<P>, finish<P>, leave<P>, compare, project_heads<P>, attend_heads<P>, add_columns<P>, \
   up_columns<P>, down_columns<P>, end_rows, products_alone<P>}

extern const Kernels FINERANK_INT16 = FINERANK_KERNELS(Int16);
extern const Kernels FINERANK_FP32 = FINERANK_KERNELS(Fp32);

}  // namespace finerank
