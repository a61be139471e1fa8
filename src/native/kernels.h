// The instruction sets there are code for.
#pragma once

#include "model.h"

namespace finerank {

extern const Kernels avx2_int16, avx2_fp32, avx512_int16, avx512_fp32, vnni_int16, vnni_fp32;

}  // namespace finerank
