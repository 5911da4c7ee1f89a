#include "absl/status/status.h"
#include "model/cuda/cuda_tower.h"

namespace vitower {
namespace {

absl::Status NoCuda() {
  return absl::FailedPreconditionError(
      "no CUDA device can be used: this build has no CUDA, configure it with VITOWER_WITH_CUDA=ON");
}

}  // namespace

absl::StatusOr<int> CountCudaDevices() { return NoCuda(); }

absl::StatusOr<std::vector<std::unique_ptr<Encoder>>> MakeCudaTower(TowerSource /*source*/, EncoderInfo /*info*/,
                                                                    const CudaTowerOptions& /*options*/) {
  return NoCuda();
}

}  // namespace vitower
