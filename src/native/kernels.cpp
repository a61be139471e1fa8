// All of the arithmetic for one instruction set: compiled once for each, with flags of its own (CMakeLists.txt).
#include "kernels.h"

#include "pass.h"

namespace finerank {

extern const Kernels FINERANK_INT16 = {enter<Int16>, attend_head<Int16>, pass<Int16>, finish<Int16>,
                                         leave<Int16>, compare, products_alone<Int16>};
extern const Kernels FINERANK_FP32 = {enter<Fp32>, attend_head<Fp32>, pass<Fp32>, finish<Fp32>,
                                        leave<Fp32>, compare, products_alone<Fp32>};

}  // namespace finerank
