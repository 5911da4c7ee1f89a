#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cli/embedding.h"

namespace vitower {

struct RemoteOptions {
  std::string server;                 // HOST:PORT
  size_t batch_items = 8;             // images in one call
  size_t concurrency = 4;             // calls in flight
  std::chrono::microseconds timeout;  // of one call, its retries included
};

// Embeds by a server: `concurrency` calls in flight, each of up to batch_items images. RESOURCE_EXHAUSTED is tried
// again with growing pauses until `timeout`; a call whose reply would be too large is split. Asks for the model at once
// and fails with the server's status where that fails.
absl::StatusOr<std::unique_ptr<EmbeddingSource>> OpenRemote(const RemoteOptions& options);

}  // namespace vitower
