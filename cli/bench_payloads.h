#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/bench_mix.h"
#include "cli/embedding.h"
#include "client/item.h"

namespace vitower {

// An item that is ready to be sent, and what its answer is counted under.
struct BenchPayload {
  std::shared_ptr<const EmbedItem> item;  // its id tells it from all others
  size_t part = 0;
  int64_t bytes = 0;  // of pixels, patches or encoded file
};

struct PayloadOptions {
  int64_t distinct = 16;  // different contents of each part of the mix
  int jpeg_quality = 90;
  uint64_t seed = 0;
};

// For each part of the mix, `distinct` payloads of made-up pictures. The same for the same seed. INVALID_ARGUMENT where
// a picture cannot be encoded.
absl::StatusOr<std::vector<std::vector<BenchPayload>>> MakePayloads(const std::vector<MixPart>& mix,
                                                                    const EmbedChoices& choices,
                                                                    const std::vector<uint32_t>& levels,
                                                                    const PayloadOptions& options);

// Which payload comes next. Not thread-safe. The payloads must outlive it.
class PayloadPicker final {
 public:
  PayloadPicker(const std::vector<MixPart>& mix, const std::vector<std::vector<BenchPayload>>& payloads, uint64_t seed)
      : payloads_(payloads), parts_(mix, seed), next_(mix.size(), seed) {}

  const BenchPayload& Next() {
    const size_t part = parts_.Next();
    return payloads_[part][next_[part]++ % payloads_[part].size()];
  }

 private:
  const std::vector<std::vector<BenchPayload>>& payloads_;
  MixPicker parts_;
  std::vector<size_t> next_;
};

}  // namespace vitower
