#pragma once

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "cli/embedding.h"
#include "client/client.h"

namespace vitower {

struct RemoteOptions {
  ClientOptions client;
  size_t in_flight = 64;              // files sent and not yet answered
  std::chrono::microseconds timeout;  // without any answer, and of a file that the server has no room for
};

// Embeds by a server, over one stream. A file that the server has no room for is sent again with growing, jittered
// pauses, for `timeout` at most. Asks for the model at once and fails with the server's status where that fails.
// `client` is of options.client.
absl::StatusOr<std::unique_ptr<EmbeddingSource>> OpenRemote(const RemoteOptions& options,
                                                            std::unique_ptr<Client> client);

}  // namespace vitower
