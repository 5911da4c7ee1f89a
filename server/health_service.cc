#include "server/health_service.h"

#include <optional>
#include <vector>

namespace vitower {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// One Watch call: writes the status whenever it is another than what was written last. One write is under way at a
// time; what changes meanwhile is looked at when it is done. Owned by the service until OnDone.
class HealthWatch final : public grpc::ServerWriteReactor<HealthCheckResponse>,
                          public std::enable_shared_from_this<HealthWatch> {
 public:
  HealthWatch(HealthService& service, bool known) : service_(service), known_(known) {}

  void Update();
  void OnWriteDone(bool ok) override;
  void OnCancel() override { End(); }
  void OnDone() override;

 private:
  enum class Writing { kIdle, kWrites, kEnds, kEnded };

  void End();

  HealthService& service_;
  const bool known_;              // the service asked for
  HealthCheckResponse response_;  // gRPC's while it is written

  Mutex mu_;
  Writing writing_ ABSL_GUARDED_BY(mu_) = Writing::kIdle;
  std::optional<HealthCheckResponse::ServingStatus> written_ ABSL_GUARDED_BY(mu_);
};

void HealthWatch::Update() {
  {
    MutexLock lock(mu_);
    const HealthCheckResponse::ServingStatus status = service_.StatusNow(known_);
    if (writing_ != Writing::kIdle || written_ == status) return;
    writing_ = Writing::kWrites;
    written_ = status;
    response_.set_status(status);
  }
  StartWrite(&response_);
}

void HealthWatch::OnWriteDone(bool ok) {
  bool ends = false;
  {
    MutexLock lock(mu_);
    ends = writing_ == Writing::kEnds || !ok;
    writing_ = Writing::kIdle;
  }
  return ends ? End() : Update();
}

// gRPC orders this after all before it, but ThreadSanitizer does not see into the packaged library: hence the lock.
void HealthWatch::OnDone() {
  { MutexLock lock(mu_); }
  service_.Forget(shared_from_this());
}

// The client has gone: nothing is written any more, and gRPC is told once.
void HealthWatch::End() {
  {
    MutexLock lock(mu_);
    if (writing_ == Writing::kWrites) writing_ = Writing::kEnds;  // OnWriteDone ends it
    if (writing_ != Writing::kIdle) return;
    writing_ = Writing::kEnded;
  }
  Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the watch was cancelled"));
}

namespace {

// Watches need no token, and each is told of every change of the state.
constexpr size_t kMaxWatches = 1024;

// A watch too many. Deletes itself when gRPC is done with it.
class RefusedWatch final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  RefusedWatch() {
    Finish(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "1024 health watches are open: the most"));
  }
  void OnDone() override { delete this; }
};

bool Knows(const HealthCheckRequest& request) {
  return request.service().empty() || request.service() == "vitower.v1.VisionEmbedder";
}

}  // namespace

HealthService::~HealthService() = default;

HealthCheckResponse::ServingStatus HealthService::StatusNow(bool known) const {
  if (!known) return Status::SERVICE_UNKNOWN;
  return lifecycle_.state() == State::kServing ? Status::SERVING : Status::NOT_SERVING;
}

void HealthService::OnStateChange() {
  std::vector<std::shared_ptr<HealthWatch>> told;
  {
    MutexLock lock(mu_);
    told.assign(watches_.begin(), watches_.end());
  }
  for (const std::shared_ptr<HealthWatch>& watch : told) watch->Update();
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context, const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  const bool known = Knows(*request);
  response->set_status(StatusNow(known));
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(known ? grpc::Status::OK : grpc::Status(grpc::StatusCode::NOT_FOUND, "there is no such service"));
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(grpc::CallbackServerContext* /*context*/,
                                                                    const HealthCheckRequest* request) {
  auto watch = std::make_shared<HealthWatch>(*this, Knows(*request));
  {
    MutexLock lock(mu_);
    if (watches_.size() >= kMaxWatches) return new RefusedWatch();
    watches_.insert(watch);
  }
  watch->Update();
  return watch.get();
}

void HealthService::Forget(const std::shared_ptr<HealthWatch>& watch) {
  MutexLock lock(mu_);
  watches_.erase(watch);
}

}  // namespace vitower
