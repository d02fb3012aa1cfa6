import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Conversation } from "./conversation.tsx";
import { openChat } from "./open.ts";

const root = createRoot(document.body);
try {
  const chat = await openChat();
  root.render(
    <StrictMode>
      <Conversation chat={chat} />
    </StrictMode>,
  );
} catch (error) {
  root.render(<p role="alert">{(error as Error).message}</p>);
}
