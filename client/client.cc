#include "client/client.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>

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
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Create(const ClientOptions& options) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = OpenChannel(options);
  if (!channel.ok()) return channel.status();
  KeepGrpcRunning();
  return std::unique_ptr<Client>(new Client(std::make_unique<Impl>(*std::move(channel), options.token)));
}

absl::StatusOr<std::vector<EmbedResult>> Client::Embed(absl::Span<const EmbedItem> items, Deadline deadline,
                                                       const std::string& request_id) {
  v1::EmbedRequest request;
  for (const EmbedItem& item : items) FillItem(item, *request.add_items());
  grpc::ClientContext context;
  Describe(context, {deadline, request_id, impl_->token});
  v1::EmbedResponse response;
  if (grpc::Status status = impl_->embedder->Embed(&context, request, &response); !status.ok()) {
    return ToStatus(status, context);
  }
  if (static_cast<size_t>(response.results_size()) != items.size()) {
    return absl::InternalError(
        absl::StrCat("the server answered ", items.size(), " items with ", response.results_size(), " results"));
  }
  std::vector<EmbedResult> results;
  results.reserve(items.size());
  for (v1::Result& result : *response.mutable_results()) results.push_back(TakeResult(std::move(result)));
  return results;
}

std::unique_ptr<EmbedStream> Client::OpenStream(const StreamOptions& options) {
  auto call = std::make_unique<ClientStreamCall>(impl_->channel,
                                                 CallDescription{options.deadline, options.request_id, impl_->token});
  return std::unique_ptr<EmbedStream>(new EmbedStream(options, std::move(call)));
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
