#include "client/client.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/channel.h"
#include "client/client_stream_call.h"
#include "client/health.h"
#include "client/wire.h"
#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {
namespace {

// gRPC shuts down with its last user, which waits up to 10 s for its poller where large messages were sent. A process
// that ends needs no such shut-down: this user stays.
void KeepGrpcRunning() {
  static const bool kept = (grpc_init(), true);
  (void)kept;
}

}  // namespace

struct Client::Impl {
  Impl(std::shared_ptr<grpc::Channel> a_channel, std::string a_token)
      : channel(std::move(a_channel)), embedder(v1::VisionEmbedder::NewStub(channel)), token(std::move(a_token)) {}

  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::VisionEmbedder::Stub> embedder;
  const std::string token;

  struct EmbedCall;
  class AsyncCall;

  std::mutex mu;
  std::condition_variable changed;
  int64_t asynchronous_calls = 0;  // guarded by mu
};

// An Embed call.
struct Client::Impl::EmbedCall {
  EmbedCall(absl::Span<const EmbedItem> items, const CallDescription& description) {
    for (const EmbedItem& item : items) FillItem(item, *request.add_items());
    Describe(context, description);
  }

  absl::StatusOr<std::vector<EmbedResult>> TakeResults(const grpc::Status& status) {
    if (!status.ok()) return ToStatus(status, context);
    if (response.results_size() != request.items_size()) {
      return absl::InternalError(absl::StrCat("the server answered ", request.items_size(), " items with ",
                                              response.results_size(), " results"));
    }
    std::vector<EmbedResult> results;
    results.reserve(static_cast<size_t>(response.results_size()));
    for (v1::Result& result : *response.mutable_results()) results.push_back(TakeResult(std::move(result)));
    return results;
  }

  grpc::ClientContext context;
  v1::EmbedRequest request;
  v1::EmbedResponse response;
};

// Deletes itself once it is answered.
class Client::Impl::AsyncCall final : private grpc::ClientUnaryReactor {
 public:
  AsyncCall(Impl& client, absl::Span<const EmbedItem> items, const CallDescription& description, EmbedDone done)
      : client_(client), call_(items, description), done_(std::move(done)) {}

  // REQUIRES: it is counted.
  void Start() {
    client_.embedder->async()->Embed(&call_.context, &call_.request, &call_.response, this);
    { const std::lock_guard lock(handed_over_); }
    StartCall();
  }

 private:
  void OnDone(const grpc::Status& status) override {
    { const std::lock_guard lock(handed_over_); }
    Impl& client = client_;
    absl::StatusOr<std::vector<EmbedResult>> results = call_.TakeResults(status);
    const EmbedDone done = std::move(done_);
    delete this;
    done(std::move(results));
    const std::lock_guard lock(client.mu);
    --client.asynchronous_calls;
    client.changed.notify_all();
  }

  Impl& client_;
  EmbedCall call_;
  EmbedDone done_;
  std::mutex handed_over_;  // for ThreadSanitizer, which does not see that gRPC orders OnDone after Start
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

// A call refers to the channel. gRPC 1.51 aborts where the last reference goes on one of its own threads.
Client::~Client() {
  std::unique_lock lock(impl_->mu);
  impl_->changed.wait(lock, [this] { return impl_->asynchronous_calls == 0; });
}

absl::StatusOr<std::unique_ptr<Client>> Client::Create(const ClientOptions& options) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = OpenChannel(options);
  if (!channel.ok()) return channel.status();
  KeepGrpcRunning();
  return std::unique_ptr<Client>(new Client(std::make_unique<Impl>(*std::move(channel), options.token)));
}

absl::StatusOr<std::vector<EmbedResult>> Client::Embed(absl::Span<const EmbedItem> items, Deadline deadline,
                                                       const std::string& request_id) {
  Impl::EmbedCall call(items, {deadline, request_id, impl_->token});
  return call.TakeResults(impl_->embedder->Embed(&call.context, call.request, &call.response));
}

void Client::EmbedAsync(absl::Span<const EmbedItem> items, Deadline deadline, EmbedDone done,
                        const std::string& request_id) {
  auto* call = new Impl::AsyncCall(*impl_, items, {deadline, request_id, impl_->token}, std::move(done));
  {
    const std::lock_guard lock(impl_->mu);
    ++impl_->asynchronous_calls;
  }
  call->Start();
}

std::unique_ptr<EmbedStream> Client::OpenStream(const StreamOptions& options) {
  return std::unique_ptr<EmbedStream>(new EmbedStream(
      options,
      [channel = impl_->channel, description = CallDescription{options.deadline, options.request_id, impl_->token}] {
        return std::make_unique<ClientStreamCall>(channel, description);
      }));
}

absl::StatusOr<ServedModel> Client::GetModelInfo(Deadline deadline) {
  grpc::ClientContext context;
  Describe(context, {deadline, /*request_id=*/"", impl_->token});
  v1::ModelInfo info;
  if (grpc::Status status = impl_->embedder->GetModelInfo(&context, v1::GetModelInfoRequest(), &info); !status.ok()) {
    return ToStatus(status);
  }
  return ToServedModel(info);
}

absl::Status Client::CheckHealth(Deadline deadline) { return CheckServerHealth(impl_->channel, deadline); }

}  // namespace vitower
