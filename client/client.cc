#include "client/client.h"

#include <grpc/grpc.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/channel.h"
#include "client/client_stream_call.h"
#include "client/health.h"
#include "client/item_wire.h"
#include "client/wire.h"
#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {
namespace {

constexpr char kEmbed[] = "/vitower.v1.VisionEmbedder/Embed";

// gRPC shuts down with its last user, which waits up to 10 s for its poller where large messages were sent. A process
// that ends needs no such shut-down: this user stays.
void KeepGrpcRunning() {
  static const bool kept = (grpc_init(), true);
  (void)kept;
}

absl::StatusOr<std::vector<EmbedResult>> TakeResults(const grpc::Status& status, const grpc::ClientContext& context,
                                                     size_t items, v1::EmbedResponse& response) {
  if (!status.ok()) return ToStatus(status, context);
  if (static_cast<size_t>(response.results_size()) != items) {
    return absl::InternalError(
        absl::StrCat("the server answered ", items, " items with ", response.results_size(), " results"));
  }
  std::vector<EmbedResult> results;
  results.reserve(items);
  for (v1::Result& result : *response.mutable_results()) results.push_back(TakeResult(std::move(result)));
  return results;
}

absl::StatusOr<grpc::ByteBuffer> SizedRequest(const std::vector<std::shared_ptr<const EmbedItem>>& items) {
  grpc::ByteBuffer request = RequestWire(items);
  if (request.Length() <= kMaxMessageBytes) return request;
  return absl::InvalidArgumentError(
      absl::StrCat("the request has ", request.Length(), " bytes: at most ", kMaxMessageBytes));
}

}  // namespace

struct Client::Impl {
  Impl(std::shared_ptr<grpc::Channel> a_channel, std::string a_token)
      : channel(std::move(a_channel)),
        embedder(v1::VisionEmbedder::NewStub(channel)),
        raw_embedder(channel),
        token(std::move(a_token)) {}

  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::VisionEmbedder::Stub> embedder;
  grpc::TemplatedGenericStub<grpc::ByteBuffer, v1::EmbedResponse> raw_embedder;
  const std::string token;

  class AsyncCall;

  std::mutex mu;
  std::condition_variable changed;
  int64_t asynchronous_calls = 0;  // guarded by mu
};

// One Embed call. Deletes itself once it is answered.
class Client::Impl::AsyncCall final : private grpc::ClientUnaryReactor {
 public:
  AsyncCall(Impl& client, size_t items, const grpc::ByteBuffer& request, const CallDescription& description,
            EmbedDone done)
      : client_(client), items_(items), request_(request), done_(std::move(done)) {
    Describe(context_, description);
  }

  // REQUIRES: it is counted.
  void Start() {
    client_.raw_embedder.PrepareUnaryCall(&context_, kEmbed, {}, &request_, &response_, this);
    { const std::lock_guard lock(handed_over_); }
    StartCall();
  }

 private:
  void OnDone(const grpc::Status& status) override {
    { const std::lock_guard lock(handed_over_); }
    Impl& client = client_;
    absl::StatusOr<std::vector<EmbedResult>> results = TakeResults(status, context_, items_, response_);
    const EmbedDone done = std::move(done_);
    delete this;
    done(std::move(results));
    const std::lock_guard lock(client.mu);
    --client.asynchronous_calls;
    client.changed.notify_all();
  }

  Impl& client_;
  const size_t items_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  v1::EmbedResponse response_;
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
  std::vector<std::shared_ptr<const EmbedItem>> kept;  // gRPC may hold on to bytes after a call that failed
  kept.reserve(items.size());
  for (const EmbedItem& item : items) kept.push_back(std::make_shared<const EmbedItem>(item));
  const absl::StatusOr<grpc::ByteBuffer> request = SizedRequest(kept);
  if (!request.ok()) return request.status();
  grpc::ClientContext context;
  Describe(context, {deadline, request_id, impl_->token});
  grpc::CompletionQueue queue;  // its own, and not gRPC's threads: those may be the callers
  const auto call = impl_->raw_embedder.PrepareUnaryCall(&context, kEmbed, *request, &queue);
  v1::EmbedResponse response;
  grpc::Status status;
  call->StartCall();
  call->Finish(&response, &status, /*tag=*/nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return TakeResults(status, context, items.size(), response);
}

void Client::EmbedAsync(const std::vector<std::shared_ptr<const EmbedItem>>& items, Deadline deadline, EmbedDone done,
                        const std::string& request_id) {
  const absl::StatusOr<grpc::ByteBuffer> request = SizedRequest(items);
  if (!request.ok()) return done(request.status());
  auto* call = new Impl::AsyncCall(*impl_, items.size(), *request, {deadline, request_id, impl_->token},
                                   std::move(done));
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
