#pragma once
// private header

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>

#include "absl/status/status.h"

namespace vitower {

// Asks the server as a whole with grpc.health.v1. Blocks until the answer or the deadline. UNAVAILABLE, saying what it
// is instead, where it is not SERVING.
absl::Status CheckServerHealth(const std::shared_ptr<grpc::Channel>& channel,
                               std::chrono::system_clock::time_point deadline);

}  // namespace vitower
