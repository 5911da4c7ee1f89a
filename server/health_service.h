// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <set>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/lifecycle.h"
#include "server/mutex.h"

namespace vitower {

class HealthWatch;

// grpc.health.v1 out of the Lifecycle: SERVING while the server serves, NOT_SERVING from its first moment until then
// and from its drain on. (gRPC's own service says SERVING until it is told otherwise, after the port is open.)
// The server as a whole ("") and vitower.v1.VisionEmbedder are known. Handlers do not block. Thread-safe. It must
// outlive gRPC's server, and `lifecycle` it.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  explicit HealthService(const Lifecycle& lifecycle) : lifecycle_(lifecycle) {}
  ~HealthService() override;

  // The state has changed: every watch is told. For the Lifecycle's listener.
  void OnStateChange();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context, const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  friend class HealthWatch;
  using Status = grpc::health::v1::HealthCheckResponse;

  Status::ServingStatus StatusNow(bool known) const;
  void Forget(const std::shared_ptr<HealthWatch>& watch);

  const Lifecycle& lifecycle_;

  Mutex mu_;
  std::set<std::shared_ptr<HealthWatch>> watches_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vitower
