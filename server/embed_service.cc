#include "server/embed_service.h"

#include "server/embed_reactor.h"
#include "server/embed_stream.h"

namespace vitower {
namespace {

class RefusedStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit RefusedStream(const grpc::Status& why) { Finish(why); }
  void OnDone() override { delete this; }
};

grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext& context, const absl::Status& why) {
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  reactor->Finish(ToGrpc(why));
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* EmbedService::Embed(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* reply) {
  if (absl::Status let_in = gate_.Check(context->client_metadata()); !let_in.ok()) return Refuse(*context, let_in);
  auto* reactor = new EmbedReactor(rpc_, *context, *reply);
  // gRPC made the buffer for this call and does not read it again; emptied, a request is held once, not twice.
  reactor->Start(const_cast<grpc::ByteBuffer&>(*request));
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* EmbedService::EmbedStream(
    grpc::CallbackServerContext* context) {
  if (absl::Status let_in = gate_.Check(context->client_metadata()); !let_in.ok()) {
    return new RefusedStream(ToGrpc(let_in));
  }
  return EmbedStreamReactor::Start(rpc_, *context);
}

grpc::ServerUnaryReactor* EmbedService::GetModelInfo(grpc::CallbackServerContext* context,
                                                     const v1::GetModelInfoRequest* /*request*/, v1::ModelInfo* reply) {
  if (absl::Status let_in = gate_.Check(context->client_metadata()); !let_in.ok()) return Refuse(*context, let_in);
  const TimePoint started_at = rpc_.clock.Now();
  *reply = rpc_.model_info;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  rpc_.metrics.ObserveRequest("GetModelInfo", absl::StatusCode::kOk, Seconds(rpc_.clock.Now() - started_at));
  return reactor;
}

}  // namespace vitower
