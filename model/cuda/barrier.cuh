// private header
#pragma once

#include "model/cuda/mma.cuh"

namespace vitower {

// Hopper's barriers in shared memory (mbarrier): a phase ends when as many threads as were said have arrived, after
// which the next one begins. Waiting names the parity of a phase, 0 for the first.
class PhaseBarrier {
 public:
  __device__ void Start(int arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;\n" ::"r"(Address()), "r"(arrivals));
  }
  __device__ __forceinline__ void Arrive() {
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];\n" ::"r"(Address()) : "memory");
  }
  // Returns at once if the phase of that parity has ended and the one after it has not.
  __device__ __forceinline__ void Await(uint32_t parity) {
    asm volatile(
        "{\n.reg .pred ended;\nagain:\nmbarrier.try_wait.parity.shared.b64 ended, [%0], %1;\n@!ended bra again;\n}\n" ::
            "r"(Address()),
        "r"(parity)
        : "memory");
  }

 private:
  __device__ __forceinline__ uint32_t Address() const { return SharedAddress(this); }
  uint64_t state_;
};

}  // namespace vitower
