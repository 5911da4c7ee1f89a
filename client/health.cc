#include "client/health.h"

#include "absl/strings/str_cat.h"
#include "client/wire.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace vitower {

absl::Status CheckServerHealth(const std::shared_ptr<grpc::Channel>& channel,
                               std::chrono::system_clock::time_point deadline) {
  using grpc::health::v1::HealthCheckResponse;
  grpc::ClientContext context;
  context.set_deadline(deadline);
  HealthCheckResponse response;
  const grpc::Status status = grpc::health::v1::Health::NewStub(channel)->Check(&context, {}, &response);
  if (!status.ok()) return ToStatus(status);
  if (response.status() == HealthCheckResponse::SERVING) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the server is ", HealthCheckResponse::ServingStatus_Name(response.status())));
}

}  // namespace vitower
