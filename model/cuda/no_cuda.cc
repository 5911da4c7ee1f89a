#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_tower.h"

namespace vitower {

absl::StatusOr<std::unique_ptr<Encoder>> MakeCudaTower(TowerSource /*source*/, EncoderInfo info,
                                                       const CudaTowerOptions& /*options*/) {
  return absl::FailedPreconditionError(absl::StrCat(
      "device is \"", info.device, "\", and this build has no CUDA: configure it with VITOWER_WITH_CUDA=ON"));
}

}  // namespace vitower
