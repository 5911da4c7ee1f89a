#pragma once
// private header

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"

namespace vitower {

// A channel as `options` ask for. Connects on the first call. INVALID_ARGUMENT names the field, or the file that cannot
// be read.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ClientOptions& options);

// What a call says of itself beside its messages.
struct CallDescription {
  std::chrono::system_clock::time_point deadline;
  std::string request_id;  // empty: the server chooses one
  std::string token;       // empty: none
};
void Describe(grpc::ClientContext& context, const CallDescription& call);

}  // namespace vitower
